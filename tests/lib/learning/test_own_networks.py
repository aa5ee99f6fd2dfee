"""Networks of plug-ins: whatever they are made of, they are drawn, matched, trained and tested as the library's are."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.debias import surrogate
from ddbias.debias.real_side import RealSettings
from ddbias.distill import engine, mtt, pretraining
from ddbias.evaluation import protocol
from ddbias.evaluation.fast import fast_network
from ddbias.learning import networks
from ddbias.learning.precision import compiling
from ddbias.planning.config import load_schema
from ddbias.planning.costs.networks import features, network_cost
from ddbias.planning.load import load
from ddbias.runtime.checkpoint import Checkpoint
from ddbias.testing import STUDY, tiny_split

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
HEAD = """
import torch
from torch import nn
from ddbias.learning.networks.layers import Network
"""
NETWORKS = (
    HEAD
    + """
PLUGIN = {
    "network": {
        "vit": {"use": "ViT", "options": {"dropout": {"type": "number", "default": 0.0}}},
        "bn": {"use": "Norms"},
        "lazy": {"use": "Lazy"},
        "frozen": {"use": "Frozen"},
    }
}


class Body(nn.Module):
    def __init__(self, channels, size, dropout, dim=8):
        super().__init__()
        self.cut = nn.Conv2d(channels, dim, 4, 4)
        self.token = nn.Parameter(torch.empty(1, 1, dim))
        self.position = nn.Embedding((size // 4) ** 2 + 1, dim)
        self.fixed = nn.Parameter(torch.linspace(0, 1, dim).sin().view(1, 1, dim), requires_grad=False)
        self.register_buffer("order", torch.arange((size // 4) ** 2 + 1), persistent=False)
        self.attention = nn.MultiheadAttention(dim, 2, dropout, batch_first=True)
        layer = nn.TransformerEncoderLayer(dim, 2, 16, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(dim)
        self.apply(self.draw)
        nn.init.trunc_normal_(self.token, std=0.02)

    def draw(self, module):
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)

    def forward(self, images):
        patches = self.cut(images)
        tokens = patches.view(len(images), patches.shape[1], -1).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), tokens], 1) + self.position(self.order) + self.fixed
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.norm(self.layers(tokens))[:, 0]


class ViT(Network):
    def __init__(self, channels, size, classes, dropout=0.0):
        super().__init__(Body(channels, size, dropout), 8, classes)


class Norms(Network):
    def __init__(self, channels, size, classes):
        maps = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.PReLU(), nn.Dropout(0.2))
        maps.extend([nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(32)])
        super().__init__(maps, 32, classes)


class Frozen(Network):
    def __init__(self, channels, size, classes):
        first = nn.Conv2d(channels, 8, 4, 4).requires_grad_(False)
        super().__init__(nn.Sequential(first, nn.ReLU(), nn.Flatten(), Scale(8 * (size // 4) ** 2)), 32, classes)


class Scale(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.linear = nn.Linear(values, 32)
        self.register_buffer("drawn", torch.rand(values), persistent=False)

    def forward(self, maps):
        return torch.relu(self.linear(maps * self.drawn))


class Lazy(Network):
    def __init__(self, channels, size, classes):
        super().__init__(nn.Sequential(nn.LazyConv2d(4, 4, 4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(8)), 8, classes)
"""
)
KINDS = [{"kind": "vit"}, {"kind": "vit", "dropout": 0.2}, {"kind": "bn"}, {"kind": "lazy"}]
every_kind = pytest.mark.parametrize("network", KINDS, ids=["vit", "vit_dropout", "bn", "lazy"])


@pytest.fixture(scope="module")
def split():
    return tiny_split(classes=2, per_class=8)


@pytest.fixture(autouse=True)
def plugin(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(NETWORKS)
    plugins.use([path])
    yield path
    plugins.use([])


def build(network, seed=0, size=8, classes=2):
    return networks.of_settings(network, (3, size, size), classes, seed)


def values(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


@every_kind
def test_it_is_drawn_by_its_constructor_from_the_seed_alone(network):
    before = torch.get_rng_state()
    made = build(network, 1)
    first = values(made)
    networks.reset(made, torch.Generator().manual_seed(5))
    redrawn = values(made)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert same(values(build(network, 1)), first)
    assert not same(values(build(network, 2)), first)
    other = build(network, 9)
    networks.reset(other, torch.Generator().manual_seed(5))
    assert same(values(other), redrawn)
    assert not torch.equal(first["head.weight"], redrawn["head.weight"])


def test_what_the_constructor_says_is_what_it_gets():
    made = build({"kind": "vit"}).body
    assert made.layers.layers[0].linear1.weight.std() < 0.03  # its own draw; torch's would be 0.2
    assert torch.equal(made.norm.weight, torch.ones(8))
    assert torch.equal(made.fixed.flatten(), torch.linspace(0, 1, 8).sin())
    assert made.order.tolist() == list(range(5))
    assert "fixed" not in dict(made.named_parameters())  # no optimiser moves it, no matching looks at it


def distiller(kind, **options):
    defaults = {
        name: option["default"]
        for name, option in load_schema([])["$defs"]["distiller"][kind]["properties"].items()
        if "default" in option
    }
    small = {"iterations": 2, "real_batch": 4, "outer_loop": 2, "inner_loop": 1, "warm_up": 1}
    small |= {"syn_steps": 2, "expert_epochs": 1, "max_start": 1, "network_images": 8, "network_batch": 8, "factor": 1}
    return {"kind": kind, **defaults, **{k: v for k, v in small.items() if k in defaults}, "models": "pool", **options}


def distilled(split, network, settings, checkpoint=None, models=None):
    return engine.run(
        split, real=RealSettings.plain(len(split)), settings=settings, network=network, ipc=2, seed=0, device=CPU,
        precision="exact", checkpoint=checkpoint or Checkpoint(None), models=models,
    )  # fmt: skip


class Stopped(Exception):
    pass


class Stops(Checkpoint):
    """Saves after every step, and stops after the first."""

    def save(self, step, tensors):
        super().save(step, tensors)
        raise Stopped


def goes_on_alike(run, path):
    """Tell whether a run that is stopped after a step ends as an undisturbed one, whatever the global generator is."""
    whole = run(Checkpoint(None))
    with pytest.raises(Stopped):
        run(Stops(path, "x", every=0))
    torch.rand(7)
    return whole, run(Checkpoint(path, "x"))


@every_kind
@pytest.mark.parametrize("kind", ["dm", "dc", "dsa"])
def test_it_is_matched(split, network, kind, tmp_path):
    settings = distiller(kind)
    whole, resumed = goes_on_alike(lambda state: distilled(split, network, settings, state), tmp_path / "state")
    assert whole.images.isfinite().all()
    assert torch.equal(whole.images, resumed.images)
    unmoved = distilled(split, network, {**settings, "iterations": 0}).images
    assert not torch.equal(whole.images, unmoved)


def test_idc_matches_its_convolutions(split):
    made = distilled(split, {"kind": "vit", "dropout": 0.2}, distiller("idc", init="noise"))
    assert made.images.isfinite().all()


@every_kind
def test_mtt_follows_its_experts(split, network, tmp_path):
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    settings |= {"augment": "none", "seed": 0, "drops": []}
    how = {"network": network, "settings": settings, "member": 0}
    whole, resumed = goes_on_alike(
        lambda state: pretraining.train_member(split, weights=None, device=CPU, checkpoint=state, **how),
        tmp_path / "state",
    )
    assert same(whole, resumed)
    pretraining.save_member(tmp_path / "member", whole, split, provenance={}, **how)
    models = {"pool": [tmp_path / "member"]}
    found = [
        distilled(split, None, distiller("mtt", iterations=1, momentum=0.0, memory=memory), models=models).images
        for memory in ("graph", "replay")
    ]
    # A step that is done again drops nothing else; sums are as close as in tests/lib/distill/test_mtt.py.
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4 * found[0].abs().max().item())


def test_the_steps_of_mtt_are_taken_with_what_each_expert_has_frozen(split, tmp_path, fast_machine, multiply_in):
    """Parameters without a gradient and buffers that are not persistent are drawn with the expert's seed."""
    multiply_in(torch.bfloat16)
    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    settings |= {"augment": "none", "seed": 0, "drops": []}
    files, trained = [], []
    for member in range(2):
        how = {"network": {"kind": "frozen"}, "settings": settings, "member": member}
        snapshots = pretraining.train_member(split, weights=None, device=CPU, checkpoint=Checkpoint(None), **how)
        files.append(tmp_path / f"member{member}")
        pretraining.save_member(files[-1], snapshots, split, provenance={}, **how)
        read = values(pretraining.last_network(files[-1], split, "pool"))
        assert same(read, {name.removeprefix("2."): t for name, t in snapshots.items() if name.startswith("2.")})
        trained.append(read)
    names = ("body.0.weight", "body.0.bias", "body.3.drawn")
    assert not any(torch.equal(trained[0][name], trained[1][name]) for name in names)
    images, _ = split.tensors()
    for precision in ("exact", "fast"):
        method = mtt.Distiller(
            split, settings=distiller("mtt", models="pool"), network=None, images=split.scaled(images[:4]), seed=0,
            device=CPU, precision=precision, models={"pool": files},
        )  # fmt: skip
        seen = []
        for step in range(2):
            method.step(step, None, None)
            buffers = dict(method.step_gradient.network.named_buffers())
            seen += [i for i in range(2) if all(buffers[n].equal(trained[i][n].to(buffers[n].dtype)) for n in names)]
        assert sorted(seen) == [0, 1]


@every_kind
def test_it_is_a_surrogate(split, network, tmp_path):
    settings = {"kind": "cross_entropy", "epochs": 1, "steps": 2, "batch_size": 8, "learning_rate": 0.1}
    settings |= {"momentum": 0.9, "weight_decay": 0.0, "augment": "none", "early_stopping": False}

    def run(state):
        how = {"network": network, "settings": settings, "seed": 0, "device": CPU}
        return surrogate.train_surrogate(split, checkpoint=state, **how)[0]

    whole, resumed = goes_on_alike(run, tmp_path / "state")
    assert same(values(whole.model), values(resumed.model))
    assert surrogate.embed(whole, split, device=CPU)["embedding"].shape[0] == len(split)


@every_kind
def test_it_is_trained_and_tested(split, network):
    images, labels = split.tensors()
    recipe = protocol.Recipe(batch_size=8)
    how = {"network": network, "recipe": recipe, "epochs": None, "steps": 3, "repeats": 1, "seed": 0, "device": CPU}
    first = protocol.evaluate(images, labels, split, **how)
    torch.rand(5)
    again = protocol.evaluate(images, labels, split, **how)
    assert first.counts.sum() == len(split)
    assert (first.confidence[0] == again.confidence[0]).all()


@pytest.fixture
def fast_machine(monkeypatch):
    """As on a machine that can compile, compiled by nothing."""
    monkeypatch.setattr(compiling.devices, "machine_obstacle", lambda device: None)
    monkeypatch.setattr(compiling, "compiled", lambda function: function)


DRAWS = (  # stochastic depth of whole batches, dropout by function, and layers that could draw and do not
    ("x if not self.training or torch.rand(()) > 0.01 else 0 * x", True),
    ("nn.functional.dropout(x, 0.01, self.training)", True),
    ("nn.functional.dropout(x, 0.0, self.training)", False),
    ("nn.functional.rrelu(x, training=self.training)", True),
    ("x.relu()", False),
)


@pytest.mark.parametrize(("expression", "random"), DRAWS)
def test_fast_refuses_whatever_is_random_in_training(plugin, split, fast_machine, log_lines, expression, random):
    code = f"""
PLUGIN = {{"network": {{"path": {{"use": "Path"}}}}}}


class Random(nn.Module):
    def forward(self, x):
        return {expression}


class Path(Network):
    def __init__(self, channels, size, classes):
        super().__init__(nn.Sequential(nn.Conv2d(channels, 4, 4, 4), Random(), nn.Flatten()), 16, classes)
"""
    plugin.write_text(HEAD + code)
    plugins.use([plugin])
    made = fast_network(build({"kind": "path"}), split, count=16, batch_size=8, debiasing={"kind": "none"})
    assert (made is None) == random
    assert any("random in training" in line for line in log_lines) == random


def test_a_network_that_cannot_be_copied_computes_exactly(plugin, split, fast_machine, log_lines):
    code = """
PLUGIN = {"network": {"kept": {"use": "Kept"}}}


class Keeps(nn.Module):
    def forward(self, x):
        self.seen = x.relu()
        return self.seen


class Kept(Network):
    def __init__(self, channels, size, classes):
        super().__init__(nn.Sequential(nn.Conv2d(channels, 4, 4, 4), Keeps(), nn.Flatten()), 16, classes)
"""
    plugin.write_text(HEAD + code)
    plugins.use([plugin])
    assert fast_network(build({"kind": "kept"}), split, count=16, batch_size=8, debiasing={"kind": "none"}) is None
    assert "it does not run (Only Tensors created explicitly by the user" in log_lines[-1]


def test_fast_computes_attention_in_bfloat16_and_refuses_dropout(split, fast_machine, multiply_in):
    multiply_in(torch.bfloat16)
    how = {"count": 16, "batch_size": 8, "debiasing": {"kind": "none"}}
    assert fast_network(build({"kind": "vit"}), split, **how) is not None
    assert fast_network(build({"kind": "vit", "dropout": 0.2}), split, **how) is None
    for kind in ("dm", "dsa"):
        exact = distilled(split, KINDS[0], distiller(kind)).images
        fast = engine.run(
            split, real=RealSettings.plain(len(split)), settings=distiller(kind), network=KINDS[0], ipc=2, seed=0,
            device=CPU, precision="fast", checkpoint=Checkpoint(None),
        ).images  # fmt: skip
        assert not torch.equal(exact, fast)
        assert torch.cosine_similarity(exact.flatten(), fast.flatten(), dim=0) > 0.99


# ---- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        ("return nn.Linear(1, 1)", 5, "network 'mine' has no embed; make it a layers.Network (docs/ext"),
        ("return 3", 5, "network 'mine' gives int, not a torch.nn.Module"),
        ("return Network(nn.Flatten(), 192, classes + 1)", 5, "gives float32 (2, 3) for the logits of 2 images, not"),
        ("return Network(nn.Flatten(), 192, classes).double()", 5, "RuntimeError: mat1 and mat2 must have the same"),
        ("return Network(nn.Linear(3, 3), 192, classes)", 5, "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ("return Network(nn.Flatten(), 192, nn.Flatten)", 6, "TypeError: empty()"),
        (
            "net = Network(nn.Flatten(), 192, classes); net.extra = nn.Parameter(torch.ones(1)); return net",
            5,
            "network 'mine' has the parameter extra, on which no logit depends; remove it",
        ),
    ],
)
def test_a_network_that_is_none_is_told_with_its_place(tmp_path, code, line, said):
    path = Path(tmp_path / "wrong.py")
    declared = "PLUGIN = {'network': {'mine': {'use': 'make'}}}"
    path.write_text(f"{HEAD}def make(channels, size, classes):\n    {code}\n{declared}\n")
    plugins.use([path])
    with pytest.raises(DdbiasError) as caught:
        build({"kind": "mine"})
    assert str(caught.value).startswith(f"plug-in {path}, line {line}: ")
    assert said in str(caught.value)


def test_the_network_of_the_docs_is_taken_by_a_study_and_works(split, tmp_path):
    text = (Path(__file__).parents[3] / "docs/extending.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "small_vit" in block]
    path = tmp_path / "vit.py"
    path.write_text(code)
    config = {**STUDY, "plugins": [str(path)], "networks": {"small": {"kind": "small_vit", "width": 8, "depth": 1}}}
    config |= {"distillers": {"checked": {"kind": "dc", "network": "small"}}, "debias": {"checked": "uniform"}}
    config |= {"models": {}, "surrogates": {}}
    network = load(config).config["networks"]["small"]
    cost = network_cost(network, SimpleNamespace(channels=3, side=8))
    assert (cost.known, features(network, 8)) == (False, 512)  # its depth is none of blocks that could be counted
    assert cost.seconds > 0
    assert network == {"kind": "small_vit", "patch": 4, "width": 8, "depth": 1}
    assert distilled(split, network, distiller("dc", iterations=1)).images.isfinite().all()
