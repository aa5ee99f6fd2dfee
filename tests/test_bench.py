"""`make bench`, with little work; and the table of the docs is the one that was measured."""

import csv
import importlib
from pathlib import Path

import pytest
from ddbias.learning import device

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "docs/measured/speed/xeon_2_cores.csv"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = importlib.import_module("bench")
    monkeypatch.setattr(device, "machine_obstacle", lambda where: "nothing is compiled in this test")
    monkeypatch.setattr(module, "RATE_SIDE", 64)
    return module


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.thorough
def test_a_row_says_how_much_faster_each_way_is(bench, tmp_path, capsys):
    bench.main(["--steps", "1", "--width", "4", "--images", "20", "--to", str(tmp_path / "to/bench.csv")])
    rows = rows_of(tmp_path / "to/bench.csv")
    assert [row["work"].split(",")[0] for row in rows[:4]] == ["`dm`", "`dm`", "`dsa`", "evaluation"]
    for row in rows:
        assert float(row["exact_ratio"]) == pytest.approx(float(row["plain"]) / float(row["exact"]), rel=0.05)
        assert {row["threads"], row["commit"]} != {""}
        assert bool(row["exact_share"]) == row["work"].startswith(("`", "eval"))
    assert bench.markdown(rows) in capsys.readouterr().out


def test_the_operations_are_those_of_the_network(bench):
    """Three convolutions and a linear layer, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    network = bench.judges(16)[0]
    with FlopCounterMode(display=False) as counter:
        network(bench.torch.zeros(1, 3, 32, 32))
    assert bench.layers(16)[2] == counter.get_total_flops()


def test_the_docs_show_what_was_measured(bench):
    assert bench.markdown(rows_of(KEPT)) in (ROOT / "docs/distillers.md").read_text()
