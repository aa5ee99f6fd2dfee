"""A job lists every library file that it uses, and no file of a method that it does not use."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ddbias import distill
from ddbias.datasets import bias, sources
from ddbias.debias import kinds as debias_kinds
from ddbias.debias import surrogate
from ddbias.evaluation import debiased_training
from ddbias.learning import networks
from ddbias.planning import code_digest
from ddbias.results import figures

SCRIPTS = code_digest.SCRIPTS
REGISTERED = {
    "datasets.sources": sources.SOURCES,
    "datasets.bias": bias.BIASES,
    "learning.networks": networks.NETWORKS,
    "debias.surrogate": surrogate.KINDS,
    "debias.kinds": debias_kinds.KINDS,
    "evaluation.debiased_training": debiased_training.KINDS,
    "distill": distill.MODULES,
    "results.figures": figures.PLOTS,
}
# Imports a script and the modules of its kinds as a job does, and lists the library files that this loads.
LOADED = """
import importlib, json, pathlib, runpy, sys
runpy.run_path(sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module(module)
print(json.dumps([m.__file__ for name, m in sys.modules.items() if name.startswith("ddbias") and m.__file__]))
"""
DM = [("distill", "dm"), ("debias.kinds", "uniform"), ("learning.networks", "convnet")]
# What jobs call while they work is compared with their inputs in tests/workflow/test_reruns.py.
JOBS = {
    "synthesize_dataset": ([("datasets.sources", "digits"), ("datasets.bias", "foreground")], []),
    "train_surrogate": (
        [("debias.surrogate", "lff"), ("learning.networks", "convnet")],
        ["ddbias.debias.surrogate.lff"],
    ),
    "estimate_weights": ([("debias.kinds", "kde")], ["ddbias.debias.kinds.kde"]),
    "distill": (DM, ["ddbias.distill.distribution_matching", "ddbias.debias.kinds.uniform"]),
    "evaluate": ([("learning.networks", "resnet18")], []),
    "plot": ([("results.figures", "accuracy")], ["ddbias.results.figures.accuracy"]),
}


def names(script, kinds=()):
    return {str(path.relative_to(SCRIPTS)) for path in code_digest.files(script, kinds)}


@pytest.mark.parametrize("package", REGISTERED)
def test_every_kind_is_found_with_its_file(package):
    found = code_digest.registered(package)
    assert set(found) == set(REGISTERED[package])
    for kind, files in found.items():
        assert files, kind
        assert all(file.is_file() and file.name != "__init__.py" for file in files), kind


@pytest.mark.parametrize(
    ("package", "kind", "file"),
    [
        ("learning.networks", "vgg11_bn", "learning/networks/vgg.py"),
        ("learning.networks", "resnet18_bn_ap", "learning/networks/resnet.py"),
        ("distill", "dm", "distill/distribution_matching.py"),
        ("debias.surrogate", "lff", "debias/surrogate/lff.py"),
        ("debias.kinds", "kde", "debias/kinds/kde.py"),
        ("datasets.bias", "background", "datasets/bias/colour.py"),
        ("datasets.sources", "fashion_mnist", "datasets/sources/idx.py"),
        ("results.figures", "weights", "results/figures/weights.py"),
        ("evaluation.debiased_training", "dfa", "evaluation/debiased_training/dfa.py"),
    ],
)
def test_kind_and_file(package, kind, file):
    assert SCRIPTS / "ddbias" / file in code_digest.registered(package)[kind]


@pytest.mark.parametrize("script", JOBS)
def test_everything_that_a_job_imports_is_listed(script):
    kinds, modules = JOBS[script]
    call = [sys.executable, "-c", LOADED, str(SCRIPTS / f"{script}.py"), *modules]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(SCRIPTS)})
    loaded = {Path(path) for path in json.loads(done.stdout)}
    assert len(loaded) > 3
    chosen = {file for package, kind in kinds for file in code_digest.registered(package)[kind]}
    # Registries import all their kinds; those that the job does not use, and what only they import, do not matter.
    others = {file for package in REGISTERED for files in code_digest.registered(package).values() for file in files}
    listed = set(code_digest.files(script, kinds))
    ignored = {path for path in loaded if path.name == "__init__.py" or code_digest._has_no_effect(path)}
    unlisted = loaded - listed - ignored - (others - chosen)
    only_by_others, todo = set(), list(others - chosen)
    while todo:
        new = {file for file, _ in code_digest._imported(todo.pop())} - only_by_others
        only_by_others |= new
        todo += new
    assert unlisted <= only_by_others
    assert chosen <= listed
    assert SCRIPTS / f"{script}.py" in listed


def test_methods_are_kept_apart():
    assert "ddbias/distill/distribution_matching.py" in names("distill", DM)
    for kind in ("random", "whole"):
        listed = names("distill", [("distill", kind), ("debias.kinds", "uniform")])
        assert "ddbias/distill/distribution_matching.py" not in listed
        assert not [name for name in listed if name.startswith("ddbias/learning/networks/")]
        assert "ddbias/distill/engine.py" in listed


def test_networks_are_kept_apart():
    for script, kinds in (("evaluate", []), ("train_surrogate", []), ("distill", DM)):
        listed = names(script, [*kinds, ("learning.networks", "convnet")])
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
        listed = names("train_surrogate", [("debias.surrogate", kind), ("learning.networks", "convnet")])
        own = {name for name in listed if name.startswith("ddbias/debias/surrogate/")}
        assert own == shared | {f"ddbias/debias/surrogate/{name}.py" for name in (kind, base, "objective")}
    # A kind that uses the loss of another one runs again when that is edited.
    assert "ddbias/debias/surrogate/generalised_ce.py" in names("train_surrogate", [("debias.surrogate", "lff")])
    assert "ddbias/debias/surrogate/supcon.py" not in names("train_surrogate", [("debias.surrogate", "selecmix")])


def test_debias_sources_and_figures_are_kept_apart():
    assert not {"ddbias/debias/kinds/kde.py", "ddbias/debias/balance.py"} & set(names("distill", DM))
    assert "ddbias/debias/weights/inverse_density.py" in names("estimate_weights", [("debias.kinds", "kde")])
    digits = names("synthesize_dataset", [("datasets.sources", "digits"), ("datasets.bias", "none")])
    assert not digits & {
        "ddbias/datasets/sources/parquet.py",
        "ddbias/datasets/sources/idx.py",
        "ddbias/datasets/bias/colour.py",
    }
    accuracy = names("plot", [("results.figures", "accuracy")])
    assert "ddbias/results/figures/style.py" in accuracy
    assert not accuracy & {"ddbias/results/figures/weights.py", "ddbias/results/figures/images.py"}


def test_planning_and_what_has_no_effect_are_in_no_job():
    for script, (kinds, _) in JOBS.items():
        listed = names(script, kinds)
        assert not [name for name in listed if name.endswith("__init__.py")]
        left_out = [f"ddbias/{name.replace('.', '/')}" for name in code_digest.WITHOUT_EFFECT]
        assert len(left_out) == 8
        assert not [name for name in listed if name.startswith(tuple(left_out))]


def test_tables_and_figures_need_no_torch_code():
    for script, kinds in (("make_table", []), ("write_report", []), ("plot", [("results.figures", "accuracy")])):
        assert not [
            name for name in names(script, kinds) if name.startswith(("ddbias/learning/networks", "ddbias/distill/"))
        ]


def test_files_are_sorted_and_named_once():
    listed = code_digest.files("distill", DM)
    assert listed == sorted(set(listed))


def test_an_unknown_kind_is_a_key_error():
    with pytest.raises(KeyError, match="mtt2"):
        code_digest.files("distill", [("distill", "mtt2")])


JOB = "distill", (("distill", "dm"), ("debias.kinds", "kde"), ("learning.networks", "convnet"))


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
    yield Copy(tmp_path / "scripts")
    monkeypatch.undo()
    code_digest.forget()


def test_digest_does_not_follow_what_changes_no_result(copy):
    first = copy.digest()
    (copy.library / "distill/another.py").write_text("STORES_IMAGES = False\n")
    edit = copy.edit
    assert edit("distill/__init__.py", "MODULES = {", 'MODULES = {\n    "another": "another",') == first
    assert (
        edit("learning/networks/__init__.py", 'partial(VGG11, norm="batch")', 'partial(VGG11, norm="group")') == first
    )
    for path, old, new in (
        ("base/log.py", "steps/s", "steps a second"),  # said
        ("runtime/checkpoint.py", '"15"', '"20"'),  # how a job lives
        ("__init__.py", '__version__ = "', '__version__ = "9.'),
        ("distill/distribution_matching.py", "class Distiller", "# A remark.\n\n\nclass Distiller"),
        ("distill/learner.py", '"""What all', '"""Said in other words: what all'),
        ("distill/engine.py", "    return Distilled(", "    return Distilled(  # laid out anew\n        "),
        (
            "debias/kinds/kde.py",
            "from __future__ import annotations\n",
            'from __future__ import annotations\nPLUGIN = {"x": 1}\n',
        ),
    ):
        assert edit(path, old, new) == first, path


def test_digest_follows_what_code_does(copy):
    seen = [copy.digest()]
    for path, old, new in (
        ("distill/distribution_matching.py", ".square().sum(1)", ".square().mean(1)"),
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
    registries = {name.replace("learning.", "teaching."): value for name, value in code_digest.REGISTRIES.items()}
    without = [name.replace("base.", "ground.").replace("data.", "files.") for name in code_digest.WITHOUT_EFFECT]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_digest, "REGISTRIES", registries)
        patch.setattr(code_digest, "WITHOUT_EFFECT", tuple(without))
        moved = copy.digest(("distill", (("distill", "dm"), ("debias.kinds", "kde"), ("teaching.networks", "convnet"))))
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


def test_what_a_name_stands_for_counts(copy):
    """The text of the code that uses it is the same."""
    networks = "learning/networks/__init__.py"
    job = "evaluate", (("learning.networks", "resnet18"), ("learning.networks", "convnet"))
    first = copy.digest(job)
    swapped = "resnet import ResNet18AveragePooling as ResNet18, ResNet18 as ResNet18AveragePooling"
    second = copy.edit(networks, "resnet import ResNet18, ResNet18AveragePooling", swapped)
    assert copy.digest(job) != first
    assert second == copy.digest(), "no job of another network hangs on it"
    path = copy.library.parent / "distill.py"
    text = path.read_text()
    digests = []
    for names in ("kernels as a, variance as b", "kernels as b, variance as a"):
        path.write_text(f"from ddbias.debias.weights import {names}\n{text}")
        digests.append(copy.digest())
    assert len(set(digests)) == 2


def test_the_order_of_a_registry_changes_no_digest(copy):
    job = "evaluate", (("learning.networks", "mlp"), ("learning.networks", "lenet"))
    first = copy.digest(job)
    networks = "learning/networks/__init__.py"
    copy.edit(networks, '    "mlp": MLP,\n', "")
    copy.edit(networks, '    "lenet": LeNet,\n', '    "lenet": LeNet,\n    "mlp": MLP,\n')
    assert copy.digest(job) == first


@pytest.mark.parametrize("imported", ["from ddbias import gradient_distance", "import ddbias", "import ddbias as d"])
def test_public_names_lead_to_their_files(copy, imported):
    path = copy.library.parent / "make_table.py"
    path.write_text(f"{imported}\n{path.read_text()}")
    first = copy.digest(("make_table", ()))
    edited = copy.edit("distill/gradient_distance.py", "EPSILON = 1e-6", "EPSILON = 1e-7")
    assert edited == copy.digest()
    assert copy.digest(("make_table", ())) != first


def test_evaluations_hang_on_no_picture_and_no_table():
    listed = names("evaluate", [("learning.networks", "convnet")])
    assert not [name for name in listed if "/images/" in name or "png" in name or name.startswith("ddbias/results/")]
    assert "ddbias/data/png.py" in names("write_export")


def test_versions_count_where_they_compute(monkeypatch):
    def digest(job, **changed):
        with pytest.MonkeyPatch.context() as patch:
            real = importlib.metadata.version
            patch.setattr(importlib.metadata, "version", lambda name: changed.get(name) or real(name))
            return code_digest.digest(*job)

    images = "synthesize_dataset", (("datasets.sources", "parquet"), ("datasets.bias", "none"))
    corrupted = "synthesize_dataset", (("datasets.sources", "parquet"), ("datasets.bias", "corruption"))
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
