"""What tells types of processors apart."""

from pathlib import Path

from ddbias.runtime import processor


def test_processors_differ_by_model_and_instructions_not_by_their_clock(monkeypatch):
    block = "processor\t: {n}\nmodel name\t: {name}\nflags\t\t: fpu {flag}\ncpu MHz\t\t: {clock}\n"

    def seen(name="Fast 7", flag="avx2", clock=2000, n=0):
        text = "\n".join(block.format(name=name, flag=flag, clock=clock, n=i) for i in (n, n + 1))
        monkeypatch.setattr(Path, "read_text", lambda path: text)
        return processor.describe()

    assert seen() == seen(clock=3000)
    assert seen().startswith("Fast 7 ")
    assert len({seen(), seen(name="Fast 8"), seen(flag="avx512f")}) == 3


def test_without_such_a_list_every_host_has_entries_of_its_own(monkeypatch):
    def refuse(path):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr("platform.node", lambda: "laptop")
    assert processor.describe().endswith(" laptop")
