"""The grid of Lu et al., four severities times six ratios, as small as it can be: with SLURM and without, and times.

They are printed (`make test-slurm ARGS="-k grid -s"`), never judged.
"""

import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.slurm, pytest.mark.long]
ROOT = Path(__file__).resolve().parents[3]


def grid():
    """Return the published grid, cut to DM at one image per class."""
    study = yaml.safe_load((ROOT / "studies/lu2024_cmnist_dd.yaml").read_text())
    cell = study["grid"][0] | {"ratios": [0, 0.1, 0.5, 0.8, 0.95, 1], "distillers": ["dm"], "ipc": [1]}
    cell |= {"seeds": [0], "evaluations": ["lu"]}
    changes = {"scale": "quick", "device": "cpu", "tables": {"main": {}}, "figures": {}}
    return study | changes | {"grid": [cell | {"dataset": f"cmnist_dd_s{severity}"} for severity in (1, 2, 3, 4)]}


def content(checkout):
    """Return every distilled set and evaluation, by path."""
    root = checkout / "results/lu2024_cmnist_dd/quick"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for pattern in ("*.safetensors", "*.parquet", "main.csv")
        for path in root.rglob(pattern)
    }


def test_grid_of_24_sets(submitted, pristine, tmp_path, data_home):
    local = pristine.copy(tmp_path / "local" / "a checkout")
    data = {"DDBIAS_DATA": str(data_home)}
    times = []
    for start, checkout in ((local.start_run, local), (submitted.start, submitted.checkout)):
        (checkout / "grid.yaml").write_text(yaml.safe_dump(grid(), sort_keys=False))
        began = time.monotonic()
        process = start("grid.yaml", "tables", **data)
        output, _ = process.communicate(timeout=3600)
        assert process.returncode == 0, output
        times.append(time.monotonic() - began)
    rules = Counter(synthesize_dataset=24, distill=24, evaluate=24)
    assert submitted.counts() == rules
    assert len(content(local)) == 24 * 3 + 1  # a set with its history, an evaluation; one table
    assert content(submitted.checkout) == content(local)
    alone, through = times
    print(f"\n{rules.total()} jobs on two processors: {alone:.0f} s here, {through:.0f} s through SLURM, ", end="")
    print(f"{2 * (through - alone) / rules.total():.1f} processor seconds more a job")
