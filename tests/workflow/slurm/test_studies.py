"""Whole studies as small as they are shipped, with SLURM and without: the same results, and the times.

The times are printed (`make test-slurm ARGS="-k whole_study -s"`), never judged.
"""

import time
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slurm, pytest.mark.long]
ROOT = Path(__file__).resolve().parents[3]
LOCAL = {"make_table", "plot", "write_report"}
SECONDS = 3600  # at most


def default():
    """Return the default study, whose scale is the smallest, without the figure that shows seconds."""
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    del study["figures"]["cost"]
    return study


def grid():
    """Return the grid of Lu et al., four severities times six ratios, cut to DM at one image per class."""
    study = yaml.safe_load((ROOT / "studies/lu2024_cmnist_dd.yaml").read_text())
    cell = study["grid"][0] | {"ratios": [0, 0.1, 0.5, 0.8, 0.95, 1], "distillers": ["dm"], "ipc": [1]}
    cell |= {"seeds": [0], "evaluations": ["lu"]}
    changes = {"scale": "quick", "device": "cpu", "tables": {"main": {}}, "figures": {}}
    return study | changes | {"grid": [cell | {"dataset": f"cmnist_dd_s{severity}"} for severity in (1, 2, 3, 4)]}


@pytest.mark.parametrize("study", [default, grid])
def test_whole_study(submitted, pristine, read_results, tmp_path, data_home, study):
    local = pristine.copy(tmp_path / "local" / "a checkout")
    planned, times = None, []
    for start, checkout in ((local.start_run, local), (submitted.start, submitted.checkout)):
        (checkout / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
        planned = planned or local.planned("study.yaml")
        began = time.monotonic()
        output, _ = (process := start("study.yaml", DDBIAS_DATA=str(data_home))).communicate(timeout=SECONDS)
        assert process.returncode == 0, output
        times.append(time.monotonic() - began)
    rules = {rule: count for rule, count in planned.items() if rule not in LOCAL}
    assert rules["distill"] == rules["evaluate"] >= 24
    assert submitted.counts() == rules
    results = read_results(local, study()["study"])
    assert sum(path.startswith("evaluations/") for path in results) >= rules["evaluate"]
    found = submitted.results(study()["study"])
    assert found.keys() == results.keys()
    assert [path for path in results if found[path] != results[path]] == []
    (alone, through), jobs = times, sum(rules.values())
    print(f"\n{study.__name__}, {jobs} jobs: {alone:.0f} s here, {through:.0f} s through SLURM")
