"""A job lists every library file that it uses, and no file of a method that it does not use."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ddbias.base import paths, plugins
from ddbias.base.errors import DdbiasError
from ddbias.planning import code_digest

pytestmark = pytest.mark.slow
SCRIPTS = code_digest.SCRIPTS
# Imports a script and the modules of its kinds as a job does, and lists the library files that this loads.
LOADED = """
import importlib, json, pathlib, runpy, sys
runpy.run_path(sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module(module)
print(json.dumps([m.__file__ for name, m in sys.modules.items() if name.startswith("ddbias") and m.__file__]))
"""
DM = [("distiller", "dm"), ("debias", "uniform"), ("network", "convnet")]
# What jobs call while they work is compared with their inputs in tests/workflow/test_reruns.py.
JOBS = {
    "synthesize_dataset": ([("source", "digits"), ("bias", "foreground")], []),
    "train_surrogate": ([("surrogate", "lff"), ("network", "convnet")], ["ddbias.debias.surrogate.lff"]),
    "estimate_weights": ([("debias", "kde")], ["ddbias.debias.kinds.kde"]),
    "distill": (DM, ["ddbias.distill.distribution_matching", "ddbias.debias.kinds.uniform"]),
    "evaluate": ([("network", "resnet18")], []),
    "plot": ([("figure", "accuracy")], ["ddbias.results.figures.accuracy"]),
}


def names(script, kinds=()):
    return {str(path.relative_to(SCRIPTS)) for path in code_digest.files(script, kinds)}


@pytest.mark.parametrize(
    ("section", "kind", "file"),
    [
        ("network", "vgg11_bn", "learning/networks/vgg.py"),
        ("network", "resnet18_bn_ap", "learning/networks/resnet.py"),
        ("distiller", "dm", "distill/distribution_matching.py"),
        ("surrogate", "lff", "debias/surrogate/lff.py"),
        ("debias", "kde", "debias/kinds/kde.py"),
        ("bias", "background", "datasets/bias/colour.py"),
        ("source", "fashion_mnist", "datasets/sources/idx.py"),
        ("figure", "weights", "results/figures/weights.py"),
        ("debiasing", "dfa", "evaluation/debiased_training/dfa.py"),
    ],
)
def test_kind_and_file(section, kind, file):
    assert plugins.find(section, kind).file == SCRIPTS / "ddbias" / file


@pytest.mark.slow
# `distill` computes, `plot` draws; the other jobs are thorough.
@pytest.mark.parametrize(
    "script", [pytest.param(job, marks=() if job in ("distill", "plot") else pytest.mark.thorough) for job in JOBS]
)
def test_everything_that_a_job_imports_is_listed(script):
    kinds, modules = JOBS[script]
    call = [sys.executable, "-c", LOADED, str(SCRIPTS / f"{script}.py"), *modules]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SCRIPTS)})
    loaded = {Path(path) for path in json.loads(done.stdout)}
    assert len(loaded) > 3
    listed = set(code_digest.files(script, kinds))
    ignored = {path for path in loaded if path.name == "__init__.py" or code_digest._has_no_effect(path)}
    assert loaded - ignored <= listed
    assert {plugins.find(section, kind).file for section, kind in kinds} <= listed
    assert SCRIPTS / f"{script}.py" in listed


def test_methods_are_kept_apart():
    assert "ddbias/distill/distribution_matching.py" in names("distill", DM)
    for kind in ("random", "whole"):
        listed = names("distill", [("distiller", kind), ("debias", "uniform")])
        assert "ddbias/distill/distribution_matching.py" not in listed
        assert not [name for name in listed if name.startswith("ddbias/learning/networks/")]
        assert "ddbias/distill/engine.py" in listed


def test_networks_are_kept_apart():
    for script, kinds in (("evaluate", []), ("train_surrogate", []), ("distill", DM)):
        listed = names(script, [*kinds, ("network", "convnet")])
        assert "ddbias/learning/networks/convnet.py" in listed
        assert "ddbias/learning/networks/layers.py" in listed
        assert not listed & {
            f"ddbias/learning/networks/{name}.py" for name in ("vgg", "resnet", "alexnet", "lenet", "mlp")
        }


def test_surrogates_are_kept_apart():
    shared = {
        f"ddbias/debias/surrogate/{name}.py" for name in ("training", "early_stopping", "separation", "embeddings")
    }
    alike = {"supcon": "contrastive", "cross_entropy": "classifier", "generalised_ce": "classifier"}
    for kind, base in alike.items():
        listed = names("train_surrogate", [("surrogate", kind), ("network", "convnet")])
        own = {name for name in listed if name.startswith("ddbias/debias/surrogate/")}
        assert own == shared | {f"ddbias/debias/surrogate/{name}.py" for name in (kind, base, "objective")}
    # A kind that uses the loss of another one runs again when that is edited.
    assert "ddbias/debias/surrogate/generalised_ce.py" in names("train_surrogate", [("surrogate", "lff")])
    assert "ddbias/debias/surrogate/supcon.py" not in names("train_surrogate", [("surrogate", "selecmix")])


def test_debias_sources_and_figures_are_kept_apart():
    assert not {"ddbias/debias/kinds/kde.py", "ddbias/debias/balance.py"} & set(names("distill", DM))
    assert "ddbias/debias/weights/inverse_density.py" in names("estimate_weights", [("debias", "kde")])
    digits = names("synthesize_dataset", [("source", "digits"), ("bias", "none")])
    assert not digits & {
        "ddbias/datasets/sources/parquet.py",
        "ddbias/datasets/sources/idx.py",
        "ddbias/datasets/bias/colour.py",
    }
    accuracy = names("plot", [("figure", "accuracy")])
    assert "ddbias/results/figures/style.py" in accuracy
    assert not accuracy & {"ddbias/results/figures/weights.py", "ddbias/results/figures/images.py"}


def test_planning_and_what_has_no_effect_are_in_no_job():
    for script, (kinds, _) in JOBS.items():
        listed = names(script, kinds)
        assert not [name for name in listed if name.endswith("__init__.py")]
        left_out = [f"ddbias/{name.replace('.', '/')}" for name in code_digest.WITHOUT_EFFECT]
        assert len(left_out) == 11
        assert not [name for name in listed if name.startswith(tuple(left_out))]


def test_tables_and_figures_need_no_torch_code():
    for script, kinds in (("make_table", []), ("write_report", []), ("plot", [("figure", "accuracy")])):
        assert not [
            name for name in names(script, kinds) if name.startswith(("ddbias/learning/networks", "ddbias/distill/"))
        ]


def test_files_are_sorted_and_named_once():
    listed = code_digest.files("distill", DM)
    assert listed == sorted(set(listed))


def test_an_unknown_kind_is_told():
    with pytest.raises(DdbiasError, match="mtt2"):
        code_digest.files("distill", [("distiller", "mtt2")])


JOB = "distill", (("distiller", "dm"), ("debias", "kde"), ("network", "convnet"))


class Copy:
    """A copy of the library that can be edited."""

    def __init__(self, scripts):
        self.library = scripts / "ddbias"

    def digest(self, job=JOB):
        code_digest.forget()
        return code_digest.digest(*job)

    def edit(self, path, old, new):
        text = (self.library / path).read_text()
        assert old in text
        (self.library / path).write_text(text.replace(old, new))
        return self.digest()


@pytest.fixture
def copy(tmp_path, monkeypatch):
    shutil.copytree(SCRIPTS, tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_digest, "SCRIPTS", tmp_path / "scripts")
    monkeypatch.setattr(paths, "SCRIPTS", tmp_path / "scripts")
    code_digest.forget()
    yield Copy(tmp_path / "scripts")
    monkeypatch.undo()
    code_digest.forget()


@pytest.mark.slow
def test_digest_does_not_follow_what_changes_no_result(copy):
    first = copy.digest()
    edit = copy.edit
    other = copy.library / "distill/another.py"
    other.write_text('PLUGIN = {"distiller": {"another": {}}}\n\n\nclass Selection:\n    pass\n')
    assert copy.digest() == first
    assert edit("learning/networks/vgg.py", '{"norm": "batch"}', '{"norm": "group"}') == first
    for path, old, new in (
        ("base/log.py", "steps/s", "steps a second"),  # said
        ("runtime/checkpoint.py", " or 15)", " or 20)"),  # how a job lives
        ("__init__.py", '__version__ = "', '__version__ = "9.'),
        ("distill/distribution_matching.py", "class Distiller", "# A remark.\n\n\nclass Distiller"),
        ("distill/learner.py", '"""What all', '"""Said in other words: what all'),
        ("distill/engine.py", "    return Distilled(", "    return Distilled(  # laid out anew\n        "),
        ("debias/kinds/kde.py", '"default": "gaussian"', '"default": "tophat"'),  # reaches a job as a parameter
    ):
        assert edit(path, old, new) == first, path


def test_digest_follows_what_code_does(copy):
    seen = [copy.digest()]
    for path, old, new in (
        ("distill/embedding_distance.py", "gap.square().sum(1)", "gap.square().mean(1)"),
        ("learning/networks/__init__.py", 'stream(seed, "init")', 'stream(seed, "start")'),  # what all networks share
        ("learning/optimiser.py", "alpha=-self.learning_rate", "alpha=self.learning_rate"),
        ("base/seeding.py", ">> 1", ">> 2"),
    ):
        seen.append(copy.edit(path, old, new))
    assert len(set(seen)) == len(seen)


def test_moving_and_renaming_files_changes_no_digest(copy):
    first = copy.digest()
    for folder, new in (("base", "ground"), ("data", "files"), ("learning", "teaching")):
        (copy.library / folder).rename(copy.library / new)
        for path in copy.library.parent.rglob("*.py"):
            text = path.read_text()
            path.write_text(re.sub(rf"\bddbias\.{folder}\b", f"ddbias.{new}", text))
    without = [name.replace("base.", "ground.").replace("data.", "files.") for name in code_digest.WITHOUT_EFFECT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_digest, "WITHOUT_EFFECT", tuple(without))
        moved = copy.digest()
    assert moved == first


def test_the_same_name_from_another_module_is_other_code(copy, tmp_path):
    (copy.library / "data/one.py").write_text("def number():\n    return 1\n")
    (copy.library / "data/two.py").write_text("def number():\n    return 2\n")
    both = "from ddbias.data import one, two\n"
    path = copy.library.parent / "distill.py"
    text = path.read_text()
    path.write_text(f"{both}from ddbias.data.one import number\n{text}")
    first = copy.digest()
    path.write_text(f"{both}from ddbias.data.two import number\n{text}")
    assert copy.digest() != first


@pytest.mark.slow
def test_what_a_name_stands_for_counts(copy):
    """The text of the code that uses it is the same."""
    job = "evaluate", (("network", "resnet18"), ("network", "convnet"))
    first, other = copy.digest(job), copy.digest()
    assert copy.edit("learning/networks/resnet.py", '"use": "ResNet18"', '"use": "ResNet18AveragePooling"') == other
    second = copy.digest(job)
    copy.edit("learning/networks/convnet.py", '"fixed": {"norm": "batch"}', '"fixed": {"norm": "layer"}')
    third = copy.digest(("evaluate", (("network", "convnet_bn"),)))
    copy.edit("learning/networks/convnet.py", '"fixed": {"norm": "layer"}', '"fixed": {"norm": "batch"}')
    assert third != copy.digest(("evaluate", (("network", "convnet_bn"),)))
    assert first != second, "no job of another network hangs on it"
    path = copy.library.parent / "distill.py"
    text = path.read_text()
    digests = []
    for names in ("kernels as a, variance as b", "kernels as b, variance as a"):
        path.write_text(f"from ddbias.debias.weights import {names}\n{text}")
        digests.append(copy.digest())
    assert len(set(digests)) == 2


def test_what_else_a_file_declares_changes_no_digest(copy):
    job = "evaluate", (("network", "mlp"),)
    first = copy.digest(job)
    copy.edit("learning/networks/mlp.py", '"network": {', '"network": {\n        "another": {"use": "MLP"},')
    assert copy.digest(job) == first


@pytest.mark.slow
@pytest.mark.parametrize("imported", ["from ddbias import gradient_distance", "import ddbias", "import ddbias as d"])
def test_public_names_lead_to_their_files(copy, imported):
    path = copy.library.parent / "make_table.py"
    path.write_text(f"{imported}\n{path.read_text()}")
    first = copy.digest(("make_table", ()))
    edited = copy.edit("distill/gradient_distance.py", "EPSILON = 1e-6", "EPSILON = 1e-7")
    assert edited == copy.digest()
    assert copy.digest(("make_table", ())) != first


def test_evaluations_hang_on_no_picture_and_no_table():
    listed = names("evaluate", [("network", "convnet")])
    assert not [name for name in listed if "/images/" in name or "png" in name or name.startswith("ddbias/results/")]
    assert "ddbias/data/png.py" in names("write_export")


def test_versions_count_where_they_compute(monkeypatch):
    def digest(job, **changed):
        with pytest.MonkeyPatch.context() as patch:
            real = importlib.metadata.version
            patch.setattr(importlib.metadata, "version", lambda name: changed.get(name) or real(name))
            return code_digest.digest(*job)

    images = "synthesize_dataset", (("source", "parquet"), ("bias", "none"))
    corrupted = "synthesize_dataset", (("source", "parquet"), ("bias", "corruption"))
    opencv = {"opencv-python-headless": "99"}
    table = "make_table", ()
    assert digest(corrupted, **opencv) != digest(corrupted)
    assert digest(images, **opencv) == digest(images)
    assert digest(images, pillow="99") != digest(images)
    assert digest(JOB, pillow="99") == digest(JOB)
    assert digest(JOB, torch="99") != digest(JOB)
    assert digest(table, torch="99") == digest(table)
    assert digest(table, numpy="99") != digest(table)
    assert digest(JOB, torch="99+cpu") == digest(JOB, torch="99+cu130"), "they share results"
