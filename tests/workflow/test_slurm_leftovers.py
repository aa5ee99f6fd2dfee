"""What a killed run left in SLURM, told by a stand-in for its commands; the real ones: `make test-slurm`."""

import os

import pytest
from launcher import LaunchError, slurm_leftovers

SQUEUE = """\
#!/bin/sh
echo "$@" > "$HERE/asked"
cat "$HERE/jobs"
"""
SCANCEL = """\
#!/bin/sh
echo "$@" > "$HERE/cancelled"
[ -e "$HERE/stubborn" ] || : > "$HERE/jobs"
"""


@pytest.fixture
def leftovers(tmp_path, monkeypatch):
    """The module, in a folder of a study, with commands that tell and take what lies beside them."""
    for name, text in (("squeue", SQUEUE), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "jobs").write_text("")
    (tmp_path / "a study").mkdir()
    monkeypatch.chdir(tmp_path / "a study")
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return slurm_leftovers


def test_only_snakemakes_jobs_of_this_folder_are_cancelled(leftovers, tmp_path):
    here = tmp_path / "a study"
    (tmp_path / "link").symlink_to(here)
    lines = [f"7|rule_distill_wildcards_a|{here}", f"8|rule_evaluate_wildcards_b|{tmp_path / 'link'}"]
    lines += [f"9|rule_distill_wildcards_a|{tmp_path}", f"10|(null)|{here}", f"7|rule_distill_wildcards_c|{here}"]
    lines += ["CLUSTER: main", "", "11|a comment of two", f"lines|{here}"]
    (tmp_path / "jobs").write_text("\n".join(lines) + "\n")
    said = []
    assert leftovers.cancel(said.append) == 2
    assert (tmp_path / "cancelled").read_text().split() == ["7", "8"]
    assert f"--user={os.getuid()}" in (tmp_path / "asked").read_text()
    assert said == ["cancelling 2 jobs that a killed run left in SLURM; their states are kept"]


def test_nothing_left_is_nothing_said(leftovers, tmp_path):
    leftovers.cancel(pytest.fail)
    assert not (tmp_path / "cancelled").exists()


def test_jobs_that_do_not_end_stop_the_run(leftovers, tmp_path):
    (tmp_path / "jobs").write_text(f"7|rule_distill_wildcards_a|{tmp_path / 'a study'}\n")
    (tmp_path / "stubborn").touch()
    with pytest.raises(LaunchError, match=r"SLURM still runs jobs .* \(7\)"):
        leftovers.cancel(lambda line: None, patience=0)


def test_without_slurm_nothing_happens(leftovers, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "a study"))
    assert leftovers.jobs_here() == []
    leftovers.cancel(pytest.fail)
