"""The Dockerfile, and what is made from it: whatever can be run and looked at without a daemon and a registry."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
APPTAINER = (ROOT / "apptainer.def").read_text()
INSTRUCTIONS = [line.split(None, 1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
IGNORED = (ROOT / ".dockerignore").read_text().split()


def said(name):
    return [words for instruction, words in INSTRUCTIONS if instruction == name]


def test_nobody_is_root_when_packages_are_installed_and_run():
    order = [f"{name} {words}" for name, words in INSTRUCTIONS]
    user = order.index("USER ddbias")
    assert [line for line in order if line.startswith("USER")] == ["USER ddbias"]
    installs = [number for number, line in enumerate(order) if re.match(r"RUN .*\b(make|pip) (env|install)", line)]
    assert installs
    assert min(installs) > user


@pytest.fixture
def image(tmp_path):
    """A folder that holds what is copied into the image, with locks that name no package."""
    assert said("COPY") == ["--chown=ddbias . ."]
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-coz", "--exclude-standard"], capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a clone")
    for path in filter(None, listed.stdout.split("\0")):
        ignored = any(fnmatch.fnmatch(f"{path}/", f"{pattern}/*") for pattern in IGNORED)
        if not ignored and (ROOT / path).exists():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, tmp_path / path)
    for lock in (tmp_path / "envs").glob("*.lock"):
        lock.write_text("# nothing\n")
    return tmp_path


@pytest.mark.thorough
def test_the_lines_that_install_run_in_an_empty_folder(image):
    """As another user without a home, but with the Python of these tests."""
    (line,) = [words for words in said("RUN") if re.match(r"make|pip|python", words)]
    version = f"python{said('FROM')[0].split(':')[1].split('-')[0]}"
    assert f"PYTHON={version}" in line, "the Python of the image"
    variables = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    call = shlex.split(line.replace(version, shlex.quote(sys.executable)))
    done = subprocess.run(call, cwd=image, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "ddbias: environment ready"
    python = image / ".venv/bin/python"
    code = "import ddbias; print(ddbias.__file__)"
    found = subprocess.run([python, "-c", code], cwd="/", env=variables, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == str(image / "workflow/scripts/ddbias/__init__.py")
    # What is started, in both kinds of image, is there.
    for text in ("".join(said("ENTRYPOINT") + said("CMD")), APPTAINER.split("%runscript")[1]):
        paths = re.findall(r"/ddbias(/[\w./]+)", text)
        assert len(paths) == 3
        assert [path for path in paths if not (image / path.lstrip("/")).exists()] == []


def test_apptainer_starts_from_the_image_that_is_built():
    name = re.search(r"docker build --tag (\w+)", (ROOT / "Dockerfile").read_text())[1]
    assert f"From: {name}:latest" in APPTAINER
    page = (ROOT / "docs/cluster.md").read_text()
    assert f"docker build --tag {name} ." in page
    assert "apptainer build ddbias.sif apptainer.def" in page


def test_the_bounds_of_python_are_the_same_everywhere():
    bounds = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert bounds == ">=3.11,<3.15"
    makefile = (ROOT / "Makefile").read_text()
    assert "not (3, 11) <= sys.version_info < (3, 15)" in makefile
    versions = ["3.11", "3.12", "3.13", "3.14"]
    assert sorted(re.findall(r"python(3\.\d+)", makefile.split("set -- python3")[1].splitlines()[0])) == versions
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())["jobs"]
    assert jobs["test"]["strategy"]["matrix"]["python"] == versions
    for path in (ROOT / "envs").glob("*.yaml"):
        assert f"python {bounds}" in yaml.safe_load(path.read_text())["dependencies"], path
    for path in ("README.md", "CONTRIBUTING.md"):
        assert "Python 3.11 to 3.14" in (ROOT / path).read_text()


@pytest.mark.parametrize(
    ("version", "accepted"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)]
)
def test_make_takes_these_versions_only(tmp_path, version, accepted):
    """A Python that tells another version of itself."""
    python = tmp_path / "python"
    code = f"import sys; sys.version_info = {(*version, 1)}; exec(sys.argv[1])"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {shlex.quote(sys.executable)} -c "{code}" "$2"\necho taken\n')
    python.chmod(0o755)
    call = ["make", "-f", ROOT / "Makefile", "env", f"PYTHON={python}"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    accepted = 10 < version[1] < 15
    assert (done.stdout == "taken\n") == accepted
    if not accepted:
        assert f"Python 3.11 to 3.14 is needed (tried: {python})" in done.stderr
