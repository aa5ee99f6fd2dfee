"""A mistake in the code of a plug-in of any section is told as that, in one line with the file and the line."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import PluginError
from ddbias.datasets import synthesis
from ddbias.debias import apply, estimation, surrogate
from ddbias.debias.real_side import RealSettings
from ddbias.distill import engine
from ddbias.evaluation import protocol
from ddbias.results import figures
from ddbias.runtime import job
from ddbias.runtime.checkpoint import Checkpoint
from ddbias.testing import tiny_split

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 4, "depth": 1}
IMAGES = "RawImages(np.zeros((4, 1, 8, 8), np.uint8), np.arange(4) % 2, ['a', 'b'])"
SOURCE = f"""
import numpy as np
from ddbias.datasets.sources import RawImages
PLUGIN = {{"source": {{"mine": {{"use": "load", "options": {{"path": {{"default": "gone.npy"}}}}}}}}}}
def load(*, data, path="gone.npy"):
    one = {IMAGES}
    return {{"train": one, "test": one}}
"""
BIAS = """
import numpy as np
from ddbias.datasets.bias import Assignment, Bias
PLUGIN = {"bias": {"mine": {"use": "Mine"}}}
class Mine(Bias):
    takes_ratio, pad = False, (0, 0, 0, 0)
    def attribute_names(self, part):
        return ["x", "y"]
    def pairing(self, part):
        return [0, 1]
    def assign(self, part, context):
        return Assignment(np.arange(len(part)), np.arange(len(part)) % 2)
    def apply(self, images, attributes, index, context):
        return images
"""
LABELLED = """
import numpy as np
PLUGIN = {"debias": {"mine": {}}}
def sample_weights(split):
    return np.ones(len(split))
"""
ESTIMATED = """
import numpy as np
from ddbias.debias.estimates import Estimate
PLUGIN = {"debias": {"mine": {"options": {"surrogate": {}}, "required": ["surrogate"]}}}
def estimate(columns):
    return Estimate(np.ones(len(columns["label"])))
"""
SURROGATE = """
import torch
from torch import nn
from ddbias.debias.surrogate.objective import Objective as Base, build_encoder
PLUGIN = {"surrogate": {"mine": {}}}
class Objective(Base):
    def __init__(self, split, network, settings, seed):
        self.model = build_encoder(split, network, seed)
    def loss(self, views, labels, rows):
        return nn.functional.cross_entropy(self.model(views[0]), labels)
    def read(self, images):
        return {"embedding": self.model.embed(images)}
"""
GUIDANCE = """
import torch
PLUGIN = {"guidance": {"mine": {}}}
class Guidance:
    def __init__(self, settings, models, split, labels, seed, device):
        self.labels = labels
    def __call__(self, images, step):
        return 0.0, torch.zeros_like(images)
"""
DEBIASING = """
import torch
from torch import nn
from ddbias.evaluation.debiased_training.learner import Learner as Base
PLUGIN = {"debiasing": {"mine": {}}}
class Learner(Base):
    def __init__(self, build, labels, *, classes, steps, seed):
        super().__init__()
        self.net = build()
    def loss(self, images, labels, rows):
        return nn.functional.cross_entropy(self.net(images), labels)
    def forward(self, images):
        return self.net(images)
"""
FIGURE = """
from matplotlib.figure import Figure
PLUGIN = {"figure": {"mine": {}}}
def draw(*, settings, **files):
    return Figure()
"""


@pytest.fixture(scope="module")
def split():
    return tiny_split(classes=2, per_class=6)


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    plugins.use([])


def synthesize(source, bias):
    synthesis.synthesize_dataset(source=source, bias=bias, ratio=None, test="natural", seed=0, data={})


def train_surrogate(split, _):
    settings = {"kind": "mine", "epochs": 1, "steps": 1, "batch_size": 4, "learning_rate": 0.1, "momentum": 0.0}
    settings |= {"weight_decay": 0.0, "augment": "none", "early_stopping": False}
    how = {"settings": settings, "seed": 0, "device": CPU, "checkpoint": Checkpoint(None)}
    objective, _ = surrogate.train_surrogate(split, network=NETWORK, **how)
    with plugins.calling("surrogate", "mine"):
        surrogate.embed(objective, split, device=CPU)


def guide(split, _):
    settings = {"kind": "dm", "iterations": 1, "real_batch": 2, "learning_rate": 1.0, "momentum": 0.0, "init": "real"}
    settings |= {"augment": "none", "guidance": {"kind": "mine"}}
    engine.run(
        split, real=RealSettings.plain(len(split)), settings=settings, network=NETWORK, ipc=1, seed=0, device=CPU,
        precision="exact", checkpoint=Checkpoint(None), models={},
    )  # fmt: skip


def train_debiased(split, _):
    recipe = protocol.Recipe(batch_size=4)
    how = {"network": NETWORK, "recipe": recipe, "epochs": None, "steps": 1, "repeats": 1, "seed": 0, "device": CPU}
    protocol.evaluate(*split.tensors(), split, debiasing={"kind": "mine"}, **how)


COLUMNS = {"label": np.arange(12) % 2, "embedding": np.ones((12, 3), np.float32)}
DIGITS = {"kind": "digits"}
SECTIONS = {
    "source": (SOURCE, lambda split, folder: synthesize({"kind": "mine"}, {"kind": "none"})),
    "bias": (BIAS, lambda split, folder: synthesize(DIGITS, {"kind": "mine"})),
    "labelled": (LABELLED, lambda split, folder: apply.real_settings({"kind": "mine"}, split, None)),
    "estimated": (ESTIMATED, lambda split, folder: estimation.estimate_weights({"kind": "mine"}, COLUMNS)),
    "surrogate": (SURROGATE, train_surrogate),
    "guidance": (GUIDANCE, guide),
    "debiasing": (DEBIASING, train_debiased),
    "figure": (FIGURE, lambda split, folder: figures.plot(kind="mine", outputs={"png": folder / "a.png"})),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_files_that_the_broken_ones_come_from_work(section, split, tmp_path):
    code, call = SECTIONS[section]
    (tmp_path / "mine.py").write_text(code)
    plugins.use([tmp_path / "mine.py"])
    call(split, tmp_path)


BAD_LABELS = IMAGES.replace("np.arange(4) % 2", "np.arange(4)")
BAD_PIXELS = IMAGES.replace("np.uint8", "np.float32")


@pytest.mark.parametrize(
    ("section", "old", "new", "line", "said"),
    [
        ("source", f"one = {IMAGES}", "one = np.load(path)", 6, "FileNotFoundError: [Errno 2] No such file or directo"),
        ("source", ', "test": one', "", 5, "source 'mine' gives NoneType for 'test', not RawImages"),
        ("source", IMAGES, BAD_PIXELS, 5, "source 'mine' gives float32 (4, 1, 8, 8) for the images of 'train', not ui"),
        ("source", IMAGES, BAD_LABELS, 5, "source 'mine' gives labels of 'train' beyond the 2 names that it gives"),
        ("source", "load(*, data, ", "load(*, ", 5, "source 'mine' fails: TypeError: load() got an unexpected keyword"),
        ("source", IMAGES, "1 / 0", 6, "ZeroDivisionError: division by zero"),
        ("bias", "(Bias)", "", 5, "bias 'mine' gives Mine for itself, not Bias"),
        ("bias", "apply(", "show(", 5, "bias 'mine' fails: TypeError: Can't instantiate abstract class Mine with abst"),
        ("bias", "return Assignment(", "return (", 11, "bias 'mine' gives tuple for what is assigned, not Assignment"),
        ("bias", "% 2)", "% 3)", 11, "bias 'mine' gives attributes beyond the 2 names of them"),
        ("bias", "return images", "return images / 255", 13, "bias 'mine' gives float64 (1200, 1, 8, 8) for its image"),
        ("bias", "def apply(self, images,", "def apply(self,", 5, "bias 'mine' fails: TypeError: Mine.apply() takes 4"),
        ("labelled", "np.ones(len(split))", "np.ones(3)", 4, "debias 'mine' gives float64 (3,) for the weights, not"),
        ("labelled", "np.ones(len", "-np.ones(len", 4, "debias 'mine' gives weights that cannot be used: weights"),
        ("labelled", "len(split)", "len(spilt)", 5, "NameError: name 'spilt' is not defined"),
        ("estimated", "Estimate(np", "(np", 5, "debias 'mine' gives ndarray for what it estimates, not Estimate"),
        ("estimated", '["label"]', '["lable"]', 6, "KeyError: 'lable'"),
        ("surrogate", "labels)", "labels, reduction='none')", 9, "surrogate 'mine' gives float32 (4,) for the loss, n"),
        ("surrogate", "def read(", "def raed(", 6, "surrogate 'mine' fails: TypeError: Can't instantiate abstract cla"),
        ("surrogate", '"embedding":', '"embeding":', 11, "surrogate 'mine' reads embeding off images, and no embeddin"),
        ("surrogate", "self.model.embed(images)", "images", 11, "surrogate 'mine' gives float32 (12, 3, 8, 8) for the"),
        ("surrogate", "views[0]", "views[1]", 10, "IndexError: list index out of range"),
        ("guidance", "zeros_like(images)", "zeros(1)", 7, "guidance 'mine' gives float32 (1,) for the gradient, not"),
        ("guidance", "0.0, torch", "torch", 7, "guidance 'mine' gives float32 (3, 8, 8) for the gradient, not"),
        ("guidance", "split, labels", "splits, labels", 4, "guidance 'mine' fails: TypeError: Guidance.__init__() got"),
        ("debiasing", "labels)\n", "labels, reduction='none')\n", 10, "debiasing 'mine' gives float32 (4,) for the lo"),
        ("debiasing", "return self.net(images)\n", "return self.net(images)[0]\n", 12, "debiasing 'mine' gives float3"),
        ("debiasing", "self.net = build()", "self.net = build(", 9, "not valid Python"),
        ("figure", "return Figure()", "pass", 4, "figure 'mine' gives NoneType for what it draws, not Figure"),
        ("figure", "Figure()", "Figure(seize=3)", 5, "Figure.set() got an unexpected keyword argument"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place(section, old, new, line, said, split, tmp_path):
    code, call = SECTIONS[section]
    assert old in code
    path = tmp_path / "mine.py"
    path.write_text(code.replace(old, new))
    if said == "not valid Python":
        with pytest.raises(plugins.DdbiasError, match=rf"^plug-in {path}: not valid Python in line"):
            plugins.use([path])
        return
    plugins.use([path])
    with pytest.raises(PluginError) as caught:
        call(split, tmp_path)
    told = str(caught.value)
    assert "\n" not in told
    assert told.startswith(f"plug-in {path}, line ")
    assert said in told
    assert re.search(r", line (\d+)", told)[1] == str(line)
    assert caught.value.__cause__ is not None


def test_the_file_of_a_package_that_failed_is_named(tmp_path):
    (tmp_path / "mine").mkdir()
    helper = tmp_path / "mine/helper.py"
    (tmp_path / "mine/__init__.py").write_text(LABELLED + "from .helper import NUMBER\n")
    helper.write_text("x = 1\nNUMBER = x + None\n")
    plugins.use([tmp_path / "mine"])
    with pytest.raises(PluginError, match=rf"^plug-in {helper}, line 2: TypeError: unsupported operand"):
        plugins.module("debias", "mine")
    helper.write_text("x = 1\nNUMBER = (\n")
    with pytest.raises(PluginError, match=rf"^plug-in {helper}, line 2: not valid Python: '\(' was never closed"):
        plugins.module("debias", "mine")
    helper.write_text("x = 1\nimport no_such_library\n")
    with pytest.raises(PluginError, match=rf"^plug-in {helper}, line 2: ModuleNotFoundError: No module named 'no_su"):
        plugins.module("debias", "mine")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_job_says_one_line_and_logs_the_traceback(wrapped, tmp_path, monkeypatch, capsys, log_lines, split):
    """Also where no call is looked at: code of a plug-in may be called from anywhere, as a network's is."""
    path, log = tmp_path / "mine.py", tmp_path / "log.txt"
    path.write_text(LABELLED.replace("np.ones(len(split))", "split.no_such"))

    def main(snakemake):
        if wrapped:
            apply.real_settings({"kind": "mine"}, split, None)
        plugins.module("debias", "mine").sample_weights(split)

    monkeypatch.delenv(job.environment.RUN_PID, raising=False)
    with pytest.raises(SystemExit) as end:
        job.run(main, SimpleNamespace(rule="distill", log=[str(log)], config={"plugins": [str(path)]}))
    assert end.value.code == 1
    said = f"ddbias: plug-in {path}, line 5: AttributeError: 'Split' object has no attribute 'no_such'"
    assert capsys.readouterr().err == said + "\n"
    text = log.read_text()
    assert "Traceback (most recent call last)" in text
    assert text.count("sample_weights") >= 1
    assert text.rstrip().endswith(said)
    assert "defect" not in text


def test_a_full_disk_is_no_mistake_of_the_plug_in(tmp_path):
    (tmp_path / "mine.py").write_text(
        LABELLED.replace("np.ones(len(split))", "(_ for _ in ()).throw(OSError(28, 'x'))")
    )
    plugins.use([tmp_path / "mine.py"])
    with pytest.raises(PluginError) as caught:
        apply.real_settings({"kind": "mine"}, [], None)
    assert job.explain(caught.value).startswith("the disk is full")
