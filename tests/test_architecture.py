"""The rooms of the library: what docs/architecture.md draws is so."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "workflow/scripts"
LIBRARY = SCRIPTS / "ddbias"
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("workflow/**/*.py"), *ROOT.glob("workflow/**/*.yaml")]


def ranks():
    """Return the place of every room in the picture, counted from the bottom; rooms side by side share theirs."""
    picture = re.search(r"^```\n(planning .*?)```", ARCHITECTURE, re.MULTILINE | re.DOTALL)[1]
    floors = [re.split(r" {2,}", line)[0].split() for line in picture.splitlines()]
    return {room: rank for rank, rooms in enumerate(reversed(floors)) for room in rooms}


def module(path):
    parts = path.relative_to(SCRIPTS).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in LIBRARY.rglob("*.py")}


def imports(path, nodes=ast.walk):
    """Return the modules of the library that a file imports."""
    found = []
    for node in nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in MODULES else node.module for name in whole]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [name for name in found if name in MODULES]


def test_every_import_goes_down():
    rank = ranks()
    folders = {path.name for path in LIBRARY.iterdir() if path.is_dir() and path.name not in ("__pycache__",)}
    assert set(rank) == folders
    up = []
    for name, path in MODULES.items():
        room = name.split(".")[1] if "." in name else ""
        for target in imports(path):
            other = target.split(".")[1] if "." in target else ""
            if room in rank and other in rank and room != other and rank[other] >= rank[room]:
                up.append(f"{name} -> {target}")
    assert not up


def test_no_circle_of_modules():
    """Not even inside a room; what is imported in a function only is not looked at."""
    graph = {name: set(imports(path, lambda tree: tree.body)) - {name} for name, path in MODULES.items()}
    while leaves := [name for name, targets in graph.items() if not targets & set(graph)]:
        for name in leaves:
            del graph[name]
    assert not graph


def test_planning_never_reaches_torch_and_nobody_reaches_planning():
    names = sorted(name for name in MODULES if name.startswith("ddbias.planning"))
    code = f"import sys, importlib\nfor name in {names}: importlib.import_module(name)\n"
    code += "print({'torch', 'pandas', 'matplotlib', 'scipy', 'cv2'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(SCRIPTS)}
    )
    assert done.stdout == "set()\n", done.stderr
    others = [path for path in SCRIPTS.rglob("*.py") if "planning" not in path.parts]
    users = [path.name for path in others if any(name.startswith("ddbias.planning") for name in imports(path))]
    assert sorted(users) == ["calls.py", "testing.py"]


def test_commands_are_short():
    for path in (ROOT / "workflow").glob("*.py"):
        assert len(path.read_text().splitlines()) < 60, path


def test_tests_mirror_the_rooms():
    folders = {path.name for path in (ROOT / "tests/lib").iterdir() if path.is_dir() and list(path.glob("test_*.py"))}
    assert folders == set(ranks())


def references():
    for path in TEXTS:
        for found in re.finditer(r"`ddbias((?:\.\w+)+)`", path.read_text()):
            yield path.relative_to(ROOT), found[0].strip("`")


@pytest.mark.parametrize("name", sorted({name for _, name in references()}))
def test_what_texts_name_exists(name):
    where = [str(path) for path, other in references() if other == name]
    parts = name.split(".")
    length = max(i for i in range(1, len(parts) + 1) if ".".join(parts[:i]) in MODULES)
    found = importlib.import_module(".".join(parts[:length]))
    for part in parts[length:]:
        assert hasattr(found, part), f"{name} in {where}"
        found = getattr(found, part)


def test_nobody_is_told_to_meddle_with_the_path_of_python():
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.py")]:
        assert not re.search(r"sys\.path|PYTHONPATH=", path.read_text()), path


def test_an_image_takes_ten_steps_at_most():
    table = ARCHITECTURE.split("## What happens to an image?")[1].split("## ")[0]
    steps = re.findall(r"^\| [^|]+ \| `ddbias\.[\w.]+` \|", table, re.MULTILINE)
    assert 8 <= len(steps) <= 10
