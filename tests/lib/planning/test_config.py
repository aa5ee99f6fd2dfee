"""Every mistake in a study file is one line with key, value, what is allowed and the nearest right name."""

import copy
import inspect

import pytest
import yaml
from ddbias.base import plugins
from ddbias.base.plugins.declarations import CODE, built_in
from ddbias.evaluation import calibration, comparisons, debiased_training, metrics, records
from ddbias.evaluation.images import image_metrics
from ddbias.learning import networks
from ddbias.planning import metric_kinds, plugin_options
from ddbias.planning.config import ConfigErrors, complete, load_schema
from ddbias.planning.load import load
from hypothesis import given
from hypothesis import strategies as st

MINIMAL = yaml.safe_load("""
study: mine
datasets:
  digits_fg: { source: digits, bias: foreground }
networks:
  small: { kind: convnet }
surrogates:
  supcon: { kind: supcon, network: small }
debias:
  uniform: uniform
  kde: { kind: kde, surrogate: supcon }
distillers:
  dm: { kind: dm, network: small }
  whole: whole
evaluations:
  convnet: { network: small }
grid:
  - { dataset: digits_fg, ratios: [0.95], distillers: [dm], debias: [uniform, kde], ipc: [10], seeds: [0],
      evaluations: [convnet] }
tables:
  main: {}
figures:
  accuracy: { kind: accuracy, dataset: digits_fg, evaluation: convnet }
""")
DELETE = object()
SCHEMA = load_schema()


def changed(path, value):
    """Return the minimal study with the entry at a dotted path set, or deleted."""
    config = copy.deepcopy(MINIMAL)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    here = config
    for part in parents:
        here = here[part]
    if value is DELETE:
        del here[last]
    else:
        here[last] = value
    return config


def mistakes(config):
    with pytest.raises(ConfigErrors) as caught:
        complete(config, SCHEMA)
    assert str(caught.value) == "\n".join(caught.value.lines)
    assert all("\n" not in line for line in caught.value.lines)
    return caught.value.lines


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("figurs", {}, "figurs: unknown key; known: study, scale, device, * Did you mean 'figures'?"),
        ("evaluations.convnet.epoch", 3,
         "evaluations.convnet.epoch = 3: unknown key; known: kind, network, * 'epochs'?"),
        ("evaluations.convnet", {}, "evaluations.convnet.network: is missing"),
        ("evaluations.convnet", None, "evaluations.convnet = null: needs a kind, one of training, images"),
        ("evaluations.convnet", {"kind": "image", "network": "small"},
         "evaluations.convnet.kind = 'image': must be one of training, images. Did you mean 'images'?"),
        ("evaluations.convnet", {"kind": "images", "network": "small", "epochs": 3},
         "evaluations.convnet.epochs = 3: unknown key; known: kind, network, surrogate, reference, repeats, *"),
        ("distillers.dm.itterations", 9, "distillers.dm.itterations = 9: unknown key; * Did you mean 'iterations'?"),
        ("grid.0.seed", [1], "grid[0].seed: unknown key; known: dataset, ratios, * Did you mean 'seeds'?"),
        ("datasets.digits_fg.source", "digit", "*source.kind = 'digit': must be one of bffhq, celeba, * 'digits'?"),
        ("datasets.digits_fg.bias", {"kind": 3}, "datasets.digits_fg.bias.kind = 3: must be one of background, *"),
        ("datasets.digits_fg.bias", {"kind": []}, "datasets.digits_fg.bias.kind = []: must be one of background, *"),
        ("datasets.digits_fg.bias", None, "datasets.digits_fg.bias = null: needs a kind, one of background, *"),
        ("datasets.digits_fg.source", DELETE, "datasets.digits_fg.source: is missing"),
        ("debias.kde", {"kind": "kde"}, "debias.kde.surrogate: is missing"),
        ("study", DELETE, "study: is missing"),
        ("study", "a/b", "study = 'a/b': must be at most 60 letters, digits and underscores"),
        ("study", "a" * 61, "study = 'aaaa*: must be at most 60 letters, digits and underscores"),
        ("datasets.digits_fg.test", "balance", "*.test = 'balance': must be one of balanced, *, null. * 'balanced'?"),
        ("datasets.digits_fg.normalise", [float("nan"), 0.5], "*.normalise[0] = .nan: must be a finite number"),
        ("datasets.digits_fg.normalise", [0.5, [0.2, float("inf"), 0.3]], "*.normalise[1][1] = .inf: must be a*"),
        ("datasets.digits_fg.normalise", [0.5, 0], "*.normalise[1] = 0: must be above 0"),
        ("datasets.digits_fg.normalise", [[0.5, -1], 0.5], "*.normalise[0][1] = -1: must be at least 0"),
        ("datasets.digits_fg.normalise", [127.5, 0.5], "*.normalise[0] = 127.5: must be at most 1"),
        ("datasets.digits_fg.source", {"kind": "image_folder", "train": "a", "test": "b",
                                       "attribute": {"from": "csv", "fil": "x"}},
         "*.attribute = {*: 'fil' is an unknown key; known: from, file, * Did you mean 'file'?"),
        ("study", 5, "study = 5: must be text"),
        ("scale", "quik", "scale = 'quik': must be one of paper, fast, quick. Did you mean 'quick'?"),
        ("scale", ["quick"], 'scale = ["quick"]: must be one of *'),
        ("device", "gpu", "device = 'gpu': must be one of auto, cpu, cuda. *"),
        ("threads", 0, "threads = 0: must be at least 1"),
        ("threads", True, "threads = true: must be a whole number"),
        ("threads", 1.5, "threads = 1.5: must be a whole number"),
        ("datasets", [], "datasets = []: must be a mapping"),
        ("datasets", {}, "datasets is empty: must name at least one"),
        ("tables", None, "tables = null: must be a mapping"),
        ("grid", [], "grid = []: must have at least 1 entry"),
        ("grid", {}, "grid = {}: must be a list"),
        ("grid.0.ratios", [], "grid[0].ratios = []: must have at least 1 entry"),
        ("grid.0.ratios", [1.2], "grid[0].ratios[0] = 1.2: must be at most 1"),
        ("grid.0.ratios", [-0.1], "grid[0].ratios[0] = -0.1: must be at least 0"),
        ("grid.0.ratios", [float("nan")], "grid[0].ratios[0] = .nan: must be a finite number"),
        ("grid.0.ratios", ["0.5"], "grid[0].ratios[0] = '0.5': must be a number * without quotes, or natural"),
        ("grid.0.ratios", [0.5, 0.9, 0.50], "grid[0].ratios = [0.5, 0.9, 0.5]: must not name 0.5 twice"),
        ("grid.0.ratios", 0.5, "grid[0].ratios = 0.5: must be a list"),
        ("grid.0.ipc", [0], "grid[0].ipc[0] = 0: must be at least 1"),
        ("grid.0.ipc", ["al"], "grid[0].ipc[0] = 'al': must be a whole number without quotes, or all"),
        ("grid.0.ipc", [2.5], "grid[0].ipc[0] = 2.5: must be a whole number or text"),
        ("grid.0.seeds", [-1], "grid[0].seeds[0] = -1: must be at least 0"),
        ("datasets.digits_fg.seed", 2**32, "datasets.digits_fg.seed = 4294967296: must be at most 4294967295"),
        ("grid.0.seeds", [2**70], "grid[0].seeds[0] = 1180591620717411303424: must be at most 4294967295"),
        ("grid.0.seeds", [0, 0], "grid[0].seeds = [0, 0]: must not name 0 twice"),
        ("grid.0.distillers", ["dm", "dm"], "*: must not name 'dm' twice"),
        ("datasets.a/b", {"source": "digits", "bias": "none"}, "datasets.'a/b': a name may have letters, *"),
        ("networks.small.norm", "instanse", "networks.small.norm = 'instanse': must be one of none, * 'instance'?"),
        ("networks.small.width", "wide", "networks.small.width = 'wide': must be a whole number"),
        ("distillers.dm.learning_rate", "1e-3", "*learning_rate = '1e-3': must be a number; YAML * write 0.001"),
        ("distillers.dm.learning_rate", 0, "distillers.dm.learning_rate = 0: must be above 0"),
        ("distillers.dm.momentum", 1, "distillers.dm.momentum = 1: must be below 1"),
        ("distillers.dm.augment", "color_blur", '*augment = *color_blur*: must be none, or pieces * joined by "_"'),
        ("distillers.dm.iterations", 0, "distillers.dm.iterations = 0: must be at least 1"),
        ("distillers.dm.iterations", "many", "distillers.dm.iterations = 'many': must be a whole number or a mapping"),
        ("distillers.dm.iterations", {"quick": 5}, "distillers.dm.iterations: has no value for the scale 'fast' *"),
        ("distillers.dm.iterations", {"fast": 5, "paper": 0}, "distillers.dm.iterations.paper = 0: must be at least 1"),
        ("distillers.dm.iterations", {"fast": 0}, "distillers.dm.iterations.fast = 0: must be at least 1"),
        ("distillers.dm.iterations", {"fast": 5, "fats": 5}, "*.iterations.fats: is not a scale; * 'fast'?"),
        ("debias.kde.clip", 2, "debias.kde.clip = 2: must be at most 1"),
        ("debias.kde.leave_one_out", "yes", "debias.kde.leave_one_out = 'yes': must be true or false"),
        ("datasets.digits_fg.pad", [1, 2, 3], "datasets.digits_fg.pad = [1, 2, 3]: must have at least 4 entries"),
        ("datasets.digits_fg.pad", [1, 2, 3, -4], "datasets.digits_fg.pad[3] = -4: must be at least 0"),
        ("figures.accuracy.kind", "acuracy", "figures.accuracy.kind = 'acuracy': must be one of accuracy, *"),
        ("tables.main.metrics", ["acc"], "tables.main.metrics[0] = 'acc': must be one of accuracy, *"),
        ("tables.main.caption", ["a\nb"], r'tables.main.caption = ["a\nb"]: must be text'),
        ("device", "a\nb", "device = 'a b': must be one of auto, cpu, cuda."),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(path, value, said):
    (line,) = mistakes(changed(path, value))
    start, *rest = said.split("*")
    assert line.startswith(start)
    for part in rest:
        assert part.strip() in line
    if not said.endswith("*"):
        assert line.endswith(rest[-1] if rest else start)


def test_several_mistakes_are_one_line_each():
    config = changed("threads", 0) | {"devise": "cpu"}
    config["grid"][0] |= {"ratios": [1.2, 2], "ipc": [0]}
    wrong = {"threads", "devise", "grid[0].ratios[0]", "grid[0].ratios[1]", "grid[0].ipc[0]"}
    lines = mistakes(config)
    assert len(lines) == len(wrong)
    assert {line.split(" ")[0].rstrip(":") for line in lines} == wrong


@pytest.mark.parametrize("config", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(config):
    (line,) = mistakes(config)
    assert line.startswith("a study is a mapping with the keys study, datasets,")


def test_long_values_are_cut():
    (line,) = mistakes(changed("device", "x" * 10_000))
    assert len(line) < 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
PLACES = ["study", "scale", "datasets", "datasets.digits_fg", "datasets.digits_fg.source", "datasets.digits_fg.pad"]
PLACES += ["networks.small", "distillers.dm.iterations", "debias.kde.clip", "grid", "grid.0", "grid.0.ratios", "tables"]
PLACES += ["tables.main", "figures.accuracy", "data", "plot"]


@given(path=st.sampled_from(PLACES), value=json_values)
def test_whatever_is_written_is_completed_or_refused_in_lines(path, value):
    lines = []
    try:
        assert complete(changed(path, value), SCHEMA)
    except ConfigErrors as error:
        lines = error.lines or [""]
    assert all(line and "\n" not in line for line in lines)


def test_defaults_are_filled_in():
    config = complete(MINIMAL)
    assert (config["scale"], config["device"], config["threads"]) == ("fast", "auto", 1)
    assert config["data"] == {"root": "data", "mirrors": []}
    assert config["datasets"]["digits_fg"] == {
        "source": {"kind": "digits"},
        "bias": {"kind": "foreground", "severity": 1, "noise": "per_index", "assignment": "published"},
        "test": None,
        "channels": None,
        "size": None,
        "pad": None,
        "normalise": None,
        "attribute_noise": None,
        "seed": 42,
    }
    assert config["networks"]["small"]["width"] == 128
    assert config["figures"]["accuracy"]["ipc"] == 10
    assert config["tables"]["main"]["published"] == []


def test_a_bare_kind_means_its_defaults():
    explicit = changed("debias.uniform", {"kind": "uniform"})
    assert complete(explicit) == complete(MINIMAL)


def test_completing_keeps_its_input_and_is_stable():
    before = copy.deepcopy(MINIMAL)
    once = complete(MINIMAL)
    assert before == MINIMAL
    once["grid"][0]["ratios"].append(0.5)
    once["data"]["mirrors"].append("elsewhere")
    assert before == MINIMAL
    assert complete(MINIMAL)["data"]["mirrors"] == []


def test_order_of_keys_does_not_matter():
    def backwards(value):
        if isinstance(value, dict):
            return {key: backwards(value[key]) for key in reversed(value)}
        return value

    def shown(config):  # settings reach jobs as mappings, whose order Snakemake compares
        return {section: {k: str(v) for k, v in config[section].items()} for section in ("datasets", "distillers")}

    assert shown(complete(backwards(MINIMAL))) == shown(complete(MINIMAL))


@pytest.mark.parametrize(
    ("scale", "published", "spent"),
    [("paper", 20000, 20000), ("fast", 20000, 1000), ("quick", 20000, 200), ("quick", 7, 1), ("quick", 150.0, 2)],
)
def test_a_plain_amount_is_the_published_one_and_shrinks(scale, published, spent):
    config = changed("distillers.dm.iterations", published) | {"scale": scale}
    assert complete(config)["distillers"]["dm"]["iterations"] == spent


@pytest.mark.parametrize(("scale", "spent"), [("paper", (5, 300)), ("fast", (3, 90)), ("quick", (2, 30))])
def test_defaults_shrink_too(scale, spent):
    evaluation = complete(MINIMAL | {"scale": scale})["evaluations"]["convnet"]
    assert (evaluation["networks"], evaluation["epochs"]) == spent


@pytest.mark.parametrize("scale", ["paper", "quick"])
def test_an_evaluation_trains_unless_it_says_otherwise_and_looking_costs_the_same_at_every_scale(scale):
    assert complete(MINIMAL)["evaluations"]["convnet"]["kind"] == "training"
    config = changed("evaluations.look", {"kind": "images", "network": "small"}) | {"scale": scale}
    assert complete(config)["evaluations"]["look"] == {
        "kind": "images",
        "network": "small",
        "surrogate": None,
        "reference": "test",
        "repeats": 5,
        "steps": 500,
        "batch_size": 64,
        "learning_rate": 0.01,
    }


def test_networks_are_a_maximum_not_a_share():
    config = changed("evaluations.convnet.networks", 1) | {"scale": "fast"}
    assert complete(config)["evaluations"]["convnet"]["networks"] == 1


@pytest.mark.parametrize(("scale", "spent"), [("paper", 30), ("fast", 20), ("quick", 10)])
def test_a_mapping_by_scale_is_taken_as_it_is(scale, spent):
    amounts = {"quick": 10, "fast": 20, "paper": 30}
    config = changed("distillers.dm.iterations", amounts) | {"scale": scale}
    assert complete(config)["distillers"]["dm"]["iterations"] == spent


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("paper", (20000, 256, 1.0, "published", "none", 1)), ("fast", (240, 64, 10.0, "scaled", "cosine", 2))],
)
def test_a_default_may_be_another_one_at_a_smaller_scale(scale, expected):
    dm = complete(changed("distillers.dm", {"kind": "dm", "network": "small"}) | {"scale": scale})["distillers"]["dm"]
    options = ("iterations", "real_batch", "learning_rate", "step", "decay", "updates_per_network")
    assert tuple(dm[option] for option in options) == expected


@pytest.mark.parametrize(("scale", "expected"), [("fast", "scaled"), ("paper", "published")])
def test_a_choice_by_scale_is_taken_as_it_is_and_a_plain_one_at_every_scale(scale, expected):
    by_scale = {"quick": "scaled", "fast": "scaled", "paper": "published"}
    config = changed("distillers.dm.step", by_scale) | {"scale": scale}
    assert complete(config)["distillers"]["dm"]["step"] == expected
    plain = changed("distillers.dm.learning_rate", 3) | {"scale": scale}
    assert complete(plain)["distillers"]["dm"]["learning_rate"] == 3


def test_a_run_may_stop_when_it_has_converged_and_is_planned_with_the_most():
    by_scale = {"fast": {"until": "converged", "at_most": 500}, "quick": 80, "paper": 20000}
    dm = load(changed("distillers.dm.iterations", by_scale) | {"scale": "fast"}).config["distillers"]["dm"]
    assert (dm["until"], dm["iterations"]) == ("converged", 500)
    dm = load(changed("distillers.dm.iterations", by_scale) | {"scale": "paper"}).config["distillers"]["dm"]
    assert ("until" in dm, dm["iterations"]) == (False, 20000)
    for wrong in ({"until": "converged"}, {"until": "bored", "at_most": 5}, {"until": "converged", "at_most": 0}):
        with pytest.raises(ConfigErrors, match=r"distillers\.dm\.iterations"):
            load(changed("distillers.dm.iterations", {"fast": wrong}) | {"scale": "fast"})


def test_whole_numbers_written_with_a_point_are_whole():
    config = changed("grid.0.ipc", [10.0])
    config["grid"][0]["seeds"] = [1.0]
    completed = complete(config)["grid"][0]
    assert [type(value) for value in completed["ipc"] + completed["seeds"]] == [int, int]


def kinds(section):
    return set(SCHEMA["$defs"][section])


def test_every_kind_with_code_of_its_own_is_in_the_schema():
    assert kinds("evaluation") == {metric_kinds.TRAINING, metric_kinds.IMAGES}
    assert kinds("debiasing") == {debiased_training.NONE, *plugins.kinds("debiasing")}
    for section in CODE.keys() - {"debiasing"}:
        assert kinds(section) == set(plugins.kinds(section)), section


def test_options_of_the_library_are_such_as_a_plug_in_may_have():
    for plugin in built_in().values():
        for name, option in plugin.options.items():
            plugin_options.check(plugin, name, option, SCHEMA)


def options(section, kind):
    return set(SCHEMA["$defs"][section][kind]["properties"]) - {"kind"}


def test_options_of_the_schema_are_those_of_the_code():
    for name in plugins.kinds("network"):
        assert options("network", name) == set(networks.options(name)), name
    for section in ("bias", "source"):
        for name in plugins.kinds(section):
            code = inspect.signature(plugins.implementation(section, name)).parameters
            # `size` is the data set's, which the plan hands on; `data` is a section of its own
            assert options(section, name) == set(code) - {"data", "size"}, name


def test_published_defaults_of_networks_are_those_of_the_code():
    for name in plugins.kinds("network"):
        code = inspect.signature(plugins.implementation("network", name)).parameters
        for option in options("network", name):
            setting = SCHEMA["$defs"]["network"][name]["properties"][option]
            if "default" in setting:
                assert setting["default"] == code[option].default, (name, option)


def test_every_metric_that_is_measured_can_be_asked_for():
    measured = [*metrics.METRICS, calibration.METRIC, *image_metrics.METRICS]
    definitions = load_schema()["$defs"]
    assert definitions["metric"]["enum"] == records.schema()["properties"]["metric"]["enum"] == measured
    assert definitions["table_metric"]["enum"] == [*measured, *comparisons.METRICS]
