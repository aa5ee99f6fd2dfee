"""`make ledger` in a clean checkout: every published number that a study of the repository covers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ddbias.planning.load import load


def written(checkout, *options):
    """Return exit status and output of the command behind `make ledger`."""
    done = subprocess.run(
        [sys.executable, "workflow/ledger.py", *options], cwd=checkout.folder, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_a_clean_checkout(checkout, tmp_path):
    status, output = written(checkout, f"--to={tmp_path / 'a folder'}")
    assert status == 0, output
    text = (tmp_path / "a folder/ledger.md").read_text()
    covered = set()
    for path in [checkout / "config.yaml", *Path(checkout / "studies").glob("*.yaml")]:
        text_of_study = path.read_text()
        if "published:" not in text_of_study:
            continue
        study = load(yaml.safe_load(text_of_study))
        for table in study.config["tables"]:
            covered |= {tuple(map(str, dict(sorted(p.value.items())).values())) for p in study.published(table)}
    assert f"studies cover {len(covered):,};" in text
    assert (tmp_path / "a folder/ledger.html").stat().st_size < 2**20
    with_ours = [line for line in text.splitlines() if "docs/measured/" in line and line.startswith("|")]
    assert all(re.search(r"\| [+−]?\d+\.\d \| (–|\d+) \|", line) for line in with_ours)
    # A command of what was not run is one that the workflow knows.
    command = re.search(r"`make run CONFIG=(studies/zhou2025_fairdd.yaml) 'ARGS=(\S+/dm/fairdd/[^']+)'`", text)
    planned = checkout.planned(command[1], "--", *command[2].split())
    assert planned == {"synthesize_dataset": 1, "distill": 3, "evaluate": 3}  # three seeds


def test_it_needs_no_torch(pristine, tmp_path):
    code = "import sys, runpy; main = runpy.run_path('workflow/ledger.py')['main']; "
    code += f"assert main(['--config=studies/zhou2025_fairdd.yaml', '--to={tmp_path}']) == 0; "
    code += "print({'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=pristine.folder, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--config=nothing.yaml"], "ddbias: nothing.yaml: cannot be read ("),
        (["--scale=fast"], "ddbias: unknown option --scale=fast; known: config, to"),
        (["--config=config.yaml", "--to=config.yaml"], "give a folder that can be written with TO=folder"),
    ],
)
def test_mistakes(pristine, options, said):
    status, output = written(pristine, *options)
    assert status == 1
    assert said in output
    assert len(output.splitlines()) == 1
