"""What a job must not load before it works: each of these costs a large part of a second, thousands of times."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ddbias.runtime import job

pytestmark = pytest.mark.slow

SCRIPTS = Path(job.__file__).parents[2]
LOAD = "import json, runpy, sys; [runpy.run_path(path) for path in sys.argv[1:]]; print(json.dumps(list(sys.modules)))"
SHOWING = {"make_table", "plot", "write_report"}
ALL = {path.stem for path in SCRIPTS.glob("*.py")}
# What draws, what only one kind of source, debias or measure needs, and torch's compiler with what it brings.
HEAVY = {"matplotlib", "seaborn", "sklearn", "scipy", "pandas", "torchvision", "sympy", "cv2"}
COMPILER = {"torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes"}


def loaded(code, *arguments):
    call = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SCRIPTS)})
    return set(json.loads(done.stdout))


def test_scripts_load_neither_what_draws_nor_the_compiler():
    """All in one process: what none of them loads."""
    assert len(ALL) > 10
    assert not loaded(LOAD, *(str(SCRIPTS / f"{name}.py") for name in sorted(ALL))) & (HEAVY | COMPILER)


def test_what_shows_results_loads_no_torch():
    assert "torch" not in loaded(LOAD, *(str(SCRIPTS / f"{name}.py") for name in sorted(SHOWING)))


@pytest.mark.parametrize(
    "code",
    [
        # A contrastive network; torch's own way to make an unfilled layer loads sympy.
        "from ddbias.learning.networks import build\n"
        "from ddbias.debias.surrogate.contrastive import ContrastiveNetwork as Network\n"
        "Network(build('mlp', channels=1, size=8, classes=2, seed=0), 4, 0)",
        # Weights and what is said of them.
        "import numpy as np; from ddbias import density_weights\n"
        "from ddbias.debias.weights.diagnosis import diagnose\n"
        "given = np.arange(8) % 2; found = density_weights(-np.arange(8.0), given, temperature=1.0)\n"
        "diagnose(found, -np.arange(8.0), given > 0, np.zeros(8, int))",
    ],
)
def test_small_work_loads_no_more(code):
    assert not loaded(f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))") & (HEAVY | COMPILER)
