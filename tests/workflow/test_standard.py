"""A standard Snakemake workflow: plain `snakemake` in a bare clone, and a module of another workflow."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RESULTS = "results/tiny/quick"
# Byte for byte what `snakedeploy deploy-workflow` 0.17.1 writes.
DEPLOYED = """\
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


# declare https://github.com/owner/ddbias as a module
module ddbias:
    snakefile: 
        github("owner/ddbias", path="workflow/Snakefile", tag="v1")
    config:
        config


# use all rules from https://github.com/owner/ddbias
use rule * from ddbias
"""  # noqa: W291
# A workflow with a first rule, a shell and a `config` of its own.
IMPORTER = """\
configfile: "mine.yaml"


rule all:
    input:
        "mine.txt",


module bias:
    snakefile:
        "{workflow}/Snakefile"
    config:
        config["bias"]


use rule * from bias as bias_*


assert set(config["bias"]) == {keys}


rule mine:
    input:
        "results/tiny/quick/data/digits_fg/0.95/preview.png",
    output:
        "mine.txt",
    shell:
        "echo path=$PYTHONPATH traps=$(trap) own=$(env | grep -c ^DDBIAS_) > {{output}}"
"""
# Loaded by every Python of a run: the library is where the test says, or nowhere, whatever this environment has.
ELSEWHERE = """\
import os, sys
sys.path[:] = [path for path in sys.path if not path.endswith("workflow/scripts")]
sys.path += filter(None, [os.environ.get("TEST_LIBRARY")])
"""


def snakemake(checkout, *arguments, **variables):
    return checkout.finish(checkout.start("-m", "snakemake", *arguments, **variables))


@pytest.fixture(scope="module")
def bare(pristine, tmp_path_factory):
    """A copy in which plain Snakemake has made the study of `.test`."""
    checkout = pristine.copy(tmp_path_factory.mktemp("bare") / "a checkout")
    status, output = snakemake(checkout, "--directory", ".test", "--cores", "1")
    assert status == 0, output
    return checkout


@pytest.mark.thorough  # a second whole run of the study that `finished_run` makes by `make run`
def test_plain_snakemake_makes_the_study_of_test(bare):
    made = {path.suffix for path in (bare / ".test" / RESULTS / "tables").iterdir()}
    assert made == {".csv", ".md", ".tex", ".html"}
    assert (bare / ".test" / RESULTS / "report/index.html").is_file()
    assert not (bare / "results").exists()
    for call in ([], ["-s", "workflow/Snakefile"]):  # one name for every file, whichever way it is found
        status, output = snakemake(bare, "--directory", ".test", "-n", *call)
        assert status == 0, output
        assert "Nothing to be done" in output


@pytest.mark.thorough
def test_report_of_a_bare_clone(bare):
    status, output = snakemake(bare, "--directory", ".test", "--report", "report.html")
    assert status == 0, output
    text = (bare / ".test/report.html").read_text()
    assert "Study <strong>tiny</strong>" in text
    assert "A tiny table" in text


@pytest.mark.parametrize(
    "call", [[], pytest.param(["-s", "workflow/Snakefile"], marks=pytest.mark.thorough)], ids=["root", "workflow"]
)
@pytest.mark.parametrize(
    "way", ["--dry-run", *(pytest.param(way, marks=pytest.mark.thorough) for way in ("--lint", "--dag"))]
)
def test_a_bare_clone(pristine, way, call):
    process = subprocess.run(
        [sys.executable, "-m", "snakemake", way, *call], cwd=pristine.folder, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    if way == "--lint":
        assert "Congratulations" in process.stdout + process.stderr
    if way == "--dry-run":
        assert "\nmake_table " in process.stdout
    if way == "--dag":
        assert process.stdout.startswith("digraph")
        assert 'label = "all"' in process.stdout
    assert not (pristine / "results").exists()


@pytest.fixture
def elsewhere(tmp_path, pristine):
    """Another folder whose Python does not find the library, with the variables of its runs."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(ELSEWHERE)
    folder = tmp_path / "another workflow"
    folder.mkdir()
    return type(pristine)(folder), {"PYTHONPATH": str(tmp_path / "site"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def installed(folder):
    """Install the library there, as pip would into an environment."""
    call = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder]
    subprocess.run([*call, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)
    return str(folder)


def hosted(pristine, folder):
    """Make a repository that git takes for the one of GitHub; return the variables that say so."""
    repository = pristine.copy(folder)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"], ["tag", "v1"]):
        subprocess.run([*git, *words], cwd=repository.folder, check=True)
    key = f"url.file://{folder}.insteadOf"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": "https://github.com/owner/ddbias"}


@pytest.mark.thorough
def test_what_snakedeploy_writes_makes_the_same_results(bare, pristine, elsewhere, tmp_path):
    """Every file that is deterministic, to the last byte; rules from a host, the library as a package."""
    here, variables = elsewhere
    variables |= hosted(pristine, tmp_path / "repository")
    (here / "workflow").mkdir()
    (here / "workflow/Snakefile").write_text(DEPLOYED)
    assert (pristine / "config/config.yaml").read_text() == (pristine / "config.yaml").read_text()  # what it copies
    (here / "config").mkdir()
    (here / "config/config.yaml").write_text((pristine / ".test/config.yaml").read_text())

    status, output = snakemake(here, "--cores", "2", **variables)
    assert status == 1
    (said,) = [line for line in output.splitlines() if line.startswith("ddbias: ")]
    assert "it is not installed" in said

    variables["TEST_LIBRARY"] = installed(tmp_path / "library")
    status, output = snakemake(here, "--cores", "2", **variables)
    assert status == 0, output
    for kind in ("arrow", "parquet", "safetensors", "csv", "png", "svg"):
        made = sorted(path.relative_to(here / RESULTS) for path in (here / RESULTS).rglob(f"*.{kind}"))
        assert made
        for path in made:
            assert (here / RESULTS / path).read_bytes() == (bare / ".test" / RESULTS / path).read_bytes(), path


@pytest.mark.thorough
def test_an_importer_keeps_what_is_its_own(pristine, elsewhere):
    """Its first rule, config, shell and environment of jobs; without a package, the workflow's own library is used."""
    here, variables = elsewhere
    study = (pristine / ".test/config.yaml").read_text()
    (here / "mine.yaml").write_text("bias:\n" + "".join(f"  {line}\n" for line in study.splitlines()))
    keys = {line.split(":")[0] for line in study.splitlines() if line[0].isalpha()}
    (here / "Snakefile").write_text(IMPORTER.format(workflow=pristine / "workflow", keys=keys))
    status, output = snakemake(here, "--cores", "1", **variables)
    assert status == 0, output
    # Signals that are ignored here, as under nohup, are ignored there.
    traps = " ".join(subprocess.run(["bash", "-c", "trap"], capture_output=True, text=True).stdout.split())
    assert (here / "mine.txt").read_text() == f"path={variables['PYTHONPATH']} traps={traps} own=0\n"
    assert not (here / ".snakemake/ddbias.lock").exists()


def test_a_library_of_another_version_is_one_line(pristine, elsewhere, tmp_path):
    here, variables = elsewhere
    (tmp_path / "old/ddbias").mkdir(parents=True)
    (tmp_path / "old/ddbias/__init__.py").write_text('__version__ = "0.0.1"\n')
    (here / "config").mkdir()
    (here / "config/config.yaml").write_text((pristine / ".test/config.yaml").read_text())
    place = f'"{pristine / "workflow/Snakefile"}"'
    (here / "Snakefile").write_text(
        DEPLOYED.replace('github("owner/ddbias", path="workflow/Snakefile", tag="v1")', place)
    )
    status, output = snakemake(here, "-n", **variables, TEST_LIBRARY=str(tmp_path / "old"))
    assert status == 1
    (said,) = [line for line in output.splitlines() if line.startswith("ddbias: ")]
    assert "and it is 0.0.1" in said
    assert "Traceback" not in output
