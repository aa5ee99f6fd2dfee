"""Every distiller with every debias keeps the contract of `ddbias.testing`, which catches those that do not."""

import sys
from pathlib import Path

import pytest
from ddbias import testing
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError

EXAMPLE = Path(__file__).resolve().parents[3] / "examples/plugins/pixel_moments.py"
PSEUDO = [
    {"kind": "fairdd", "groups": "clusters", "surrogate": "probe", "reduction": "mean"},
    {"kind": "cobra", "groups": "predicted", "surrogate": "probe", "draw": "proportional"},
    {"kind": "fairdd", "groups": "dbscan", "surrogate": "probe"},
]
LAST = "        return loss.detach(), gradient\n"
CLOCK = "gradient + __import__('time').time() % 1"  # torch's global generator is that of the step
SELECTOR = """
import torch
from ddbias.distill.selector import Selector
PLUGIN = {"distiller": {"mine": {}}}
UNSEEDED = torch.Generator()
UNSEEDED.seed()
class Selection(Selector):
    def select(self, ipc):
        side = self.side
        return RETURNED
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    plugins.use([])


@pytest.fixture(scope="module")
def split():
    return testing.tiny_split()


def pairs():
    """Every distiller with one debias of each real side (weights, targets a group), every debias with one distiller."""
    for kind in (name for name, plugin in plugins.kinds("distiller").items() if "files" not in plugin.facts):
        for how in [*plugins.kinds("debias"), *PSEUDO]:
            name = how if isinstance(how, str) else f"{how['kind']}-{how['groups']}"
            marks = [pytest.mark.slow] if kind in ("dc", "dsa", "idc") else []
            others = kind != "dm" and name not in ("kde", "fairdd")
            costly = kind == "dc" or (kind in ("dsa", "idc") and name == "fairdd")  # dc is dsa without augmentation
            if others or costly:
                marks.append(pytest.mark.thorough)
            yield pytest.param(kind, how, id=f"{kind}-{name}", marks=marks)


@pytest.mark.parametrize(("kind", "how"), list(pairs()))
def test_every_built_in_distiller_keeps_the_contract(kind, how, split, tmp_path):
    testing.check_distiller(kind, debias=how, split=split, folder=tmp_path)


def test_learned_soft_labels_keep_the_contract(split, tmp_path, monkeypatch):
    pool = {**testing.STUDY["models"]["pool"], "epochs": 20, "learning_rate": 0.1}  # which must know some images
    monkeypatch.setitem(testing.STUDY["models"], "pool", pool)
    assert testing.check_distiller("mtt", soft_labels=True, split=split, folder=tmp_path).soft_labels is not None


def test_the_example_plug_in_keeps_the_contract(split, tmp_path):
    """With every debias: on the command line, below."""
    result = testing.check_distiller("pixel_moments", debias="kde", paths=[EXAMPLE], split=split, folder=tmp_path)
    assert result.images.shape == (6, 3, 8, 8)
    assert len(result.history["loss"]) == testing.STEPS


def test_the_tiny_split_is_small_and_real(split):
    assert split.shape == (3, 8, 8)
    assert split.labels.tolist() == [label for label in range(3) for _ in range(20)]
    assert 0 < split.conflicting.sum() < 30
    assert testing.tiny_split(classes=2, per_class=5).classes == 2


# ---- what it catches ------------------------------------------------------------------------------------------------

UNFINISHED = """
    def state_dict(self):
        return {"images": self.images}

    def load_state_dict(self, state):
        with torch.no_grad():
            self.images.copy_(state["images"])
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (LAST, LAST.replace("gradient", CLOCK), "the same seed gave another result"),
        (LAST, LAST.replace("gradient", "gradient * 0"), "6 images were not moved"),
        (LAST, LAST.replace("gradient", "gradient.index_fill(0, torch.tensor([4]), 0)"), "1 images were not moved"),
        (LAST, LAST + UNFINISHED, "a run that was killed and went on gave another result"),
        (
            "    def match(",
            "    def step(self, step, real, batch):\n        super().step(step, real, batch)\n        return {}\n\n"
            "    def match(",
            "no step reported anything",
        ),
    ],
)
def test_a_distiller_that_learns_and_breaks_it_is_caught(old, new, said, split, tmp_path):
    text = EXAMPLE.read_text()
    assert text.count(old) == 1
    (tmp_path / "mine.py").write_text(text.replace(old, new))
    with pytest.raises(AssertionError, match=f"^pixel_moments with uniform: {said}"):
        testing.check_distiller("pixel_moments", paths=[tmp_path / "mine.py"], split=split, folder=tmp_path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("torch.tensor([0, 0, 20, 21, 40, 41])", "an image was selected twice"),
        ("torch.tensor([0, 1, 2, 20, 40, 41])", r"the classes have \[3, 1, 2\] images"),
        (
            "torch.cat([c[torch.randperm(20, generator=UNSEEDED)[:2]] for c in side.classes])",
            "the same seed gave another ",
        ),
    ],
)
def test_a_distiller_that_selects_and_breaks_it_is_caught(rows, said, split, tmp_path):
    (tmp_path / "mine.py").write_text(SELECTOR.replace("RETURNED", rows))
    with pytest.raises(AssertionError, match=f"^mine with uniform: {said}"):
        testing.check_distiller("mine", paths=[tmp_path / "mine.py"], split=split, folder=tmp_path)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("torch.arange(7)", r"gives int64 \(7,\) for the rows, not int64 \(6,\)"),
        ("side.classes[0][:6].numpy()", "gives ndarray for the rows, not Tensor"),
        ("[0, 1, 20, 21, 40, 41]", "gives list for the rows, not int64"),
        ("torch.tensor([0, 1, 20, 21, 40, 60])", "gives rows beyond the 60 training images"),
    ],
)
def test_a_distiller_that_returns_no_rows_is_told_with_its_place(rows, said, split, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SELECTOR.replace("RETURNED", rows))
    with pytest.raises(DdbiasError, match=rf"^plug-in {path}, line \d+: distiller 'mine' {said}"):
        testing.check_distiller("mine", paths=[path], split=split, folder=tmp_path)


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ("        return loss\n", "gives Tensor, not the pair of the loss and its gradient"),
        ("        return loss.item(), gradient\n", "gives float for the loss, not float32 or float64 ()"),
        ("        return loss, gradient[:1]\n", "gives float32 (1, 3, 8, 8) for the gradient, not float32 (6, 3"),
        ("        return loss, gradient.double()\n", "gives float64 (6, 3, 8, 8) for the gradient, not float32"),
        ("        return loss.detach(), gradient / None\n", "TypeError: unsupported operand type(s) for /: "),
    ],
)
def test_a_distiller_that_matches_wrongly_is_told_with_its_place(new, said, split, tmp_path):
    text, path = EXAMPLE.read_text(), tmp_path / "mine.py"
    path.write_text(text.replace(LAST, new))
    with pytest.raises(DdbiasError) as caught:
        testing.check_distiller("pixel_moments", paths=[path], split=split, folder=tmp_path)
    lines = path.read_text().splitlines()
    place = "return" if "TypeError" in said else "def match("
    (number,) = [i for i, line in enumerate(lines, 1) if place in line]
    assert str(caught.value).startswith(f"plug-in {path}, line {number}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("(Selector)", "", "fails: TypeError: Selection() takes no arguments"),
        (
            "(Selector)",
            ":\n    def __init__(self, *_, **__): pass\nclass Other",
            "gives Selection for itself, not Selec",
        ),
        ("select(", "choose(", "fails: TypeError: Can't instantiate abstract class Selection "),
    ],
)
def test_a_selection_that_is_no_selector_is_told(old, new, said, split, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SELECTOR.replace(old, new))
    with pytest.raises(DdbiasError) as caught:
        testing.check_distiller("mine", paths=[path], split=split, folder=tmp_path)
    assert str(caught.value).startswith(f"plug-in {path}")
    assert f": distiller 'mine' {said}" in str(caught.value)


def test_a_mistake_in_options_is_what_a_user_would_see(split, tmp_path):
    with pytest.raises(DdbiasError, match=r"distillers\.checked\.second = -1: must be at least 0"):
        testing.check_distiller("pixel_moments", paths=[EXAMPLE], split=split, folder=tmp_path, second=-1)
    with pytest.raises(DdbiasError, match="must be one of dc, dm, "):
        testing.check_distiller("no_such_method", split=split, folder=tmp_path)


@pytest.mark.slow
def test_on_the_command_line_every_line_is_one_debias(tmp_path, capsys):
    assert testing.main([str(EXAMPLE)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"pixel_moments with {how}: passed" for how in plugins.kinds("debias")]
    (tmp_path / "mine.py").write_text(SELECTOR.replace("RETURNED", "torch.zeros(6, dtype=torch.int64)"))
    assert testing.main([str(tmp_path / "mine.py")]) == len(plugins.kinds("debias"))
    assert capsys.readouterr().out.splitlines()[0] == "mine with cobra: an image was selected twice"


def test_a_plug_in_that_leaves_python_has_not_passed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(testing, "check_distiller", lambda *_, **__: sys.exit(0))
    assert testing.main([str(EXAMPLE)]) == len(plugins.kinds("debias"))
    assert "pixel_moments with cobra: leaves Python by sys.exit(0); raise an error instead" in capsys.readouterr().out
