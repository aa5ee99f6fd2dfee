"""Plug-ins: what they add is checked as built-in kinds are, one line for every mistake, nothing runs while planning."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.data.split import Split
from ddbias.datasets import bias, sources
from ddbias.debias.apply import real_settings
from ddbias.learning import networks
from ddbias.planning import code_digest
from ddbias.planning.config import ConfigErrors, complete
from ddbias.planning.load import load

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/plugins/pixel_moments.py"
FAR = ROOT / "examples/plugins/far_from_mean.py"
STUDY = yaml.safe_load("""
study: mine
datasets:
  digits_fg: { source: digits, bias: foreground }
networks:
  small: convnet
debias:
  uniform: uniform
distillers:
  mine: pixel_moments
evaluations:
  convnet: { network: small }
grid:
  - { dataset: digits_fg, ratios: [0.95], distillers: [mine], debias: [uniform], ipc: [10], seeds: [0],
      evaluations: [convnet] }
""")
SELECTOR = """
import torch
from ddbias.distill.selector import Selector
PLUGIN = {"distiller": {"firsts": %s}}
class Selection(Selector):
    def select(self, ipc):
        return torch.cat([members[:ipc] for members in self.side.classes])
"""


@pytest.fixture(autouse=True)
def nothing_stays():
    yield
    plugins.use([])


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file in the working directory; returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(content, name="mine.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
        return name

    return write


def study(*paths, **mine):
    config = copy.deepcopy(STUDY)
    config["plugins"] = [str(path) for path in paths]
    if mine:
        config["distillers"]["mine"] = mine
    return config


def mistake(config):
    with pytest.raises(ConfigErrors) as caught:
        load(config)
    (line,) = caught.value.lines
    return line


# ---- settings -------------------------------------------------------------------------------------------------------


def test_defaults_and_scale_are_those_of_the_declaration():
    settings = load(study(EXAMPLE) | {"scale": "fast"}).config["distillers"]["mine"]
    assert settings == {
        "kind": "pixel_moments",
        "iterations": 50,
        "real_batch": 256,
        "learning_rate": 0.1,
        "momentum": 0.5,
        "init": "weighted_real",
        "second": 0.1,
    }
    settings = complete(study(EXAMPLE, kind="pixel_moments", second=3, iterations={"fast": 7}))["distillers"]["mine"]
    assert (settings["second"], settings["iterations"]) == (3, 7)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secnd": 1}, "distillers.mine.secnd = 1: unknown key; known: kind, iterations, * Did you mean 'second'?"),
        ({"second": -1}, "distillers.mine.second = -1: must be at least 0"),
        ({"second": "much"}, "distillers.mine.second = 'much': must be a number"),
        ({"init": "reel"}, "distillers.mine.init = 'reel': must be one of noise, real, * Did you mean 'real'?"),
        ({"kind": "pixel_moment"}, "distillers.mine.kind = 'pixel_moment': must be one of dc, * 'pixel_moments'?"),
    ],
)
def test_a_wrong_setting_is_one_line_as_for_built_in_methods(changes, said):
    line = mistake(study(EXAMPLE, **{"kind": "pixel_moments", **changes}))
    start, _, end = said.partition("*")
    assert line.startswith(start)
    assert line.endswith(end)


def test_a_missing_option_and_a_missing_network_are_told(write):
    options = '{"options": {"network": {"type": "string"}}, "required": ["network"]}'
    path = write(SELECTOR % options)
    assert mistake(study(path, kind="firsts")) == "distillers.mine.network: is missing"
    line = mistake(study(path, kind="firsts", network="big"))
    assert line == "distillers.mine.network = 'big': not defined under networks; defined: small."


def test_without_the_plug_in_its_kind_is_unknown():
    assert mistake(STUDY).startswith("distillers.mine.kind = 'pixel_moments': must be one of dc, ")


def test_plugins_is_a_list_of_texts():
    config = study(kind="random")
    assert mistake(config | {"plugins": "mine.py"}) == "plugins = 'mine.py': must be a list"
    assert mistake(config | {"plugins": [3]}) == "plugins[0] = 3: must be text"
    twice = mistake(config | {"plugins": [str(EXAMPLE)] * 2})
    assert twice.startswith("plugins = [")
    assert twice.endswith("pixel_moments.py' twice")


# ---- mistakes in the file -------------------------------------------------------------------------------------------

DECLARED = 'PLUGIN = {"distiller": {"firsts": {}}}\n'
LEARNER = "class Distiller: pass\n"
LEARNS = '"iterations": {"default": 1}, "real_batch": {"default": 1}, "init": {"default": "real"}'


def selector(option):
    return SELECTOR % f'{{"options": {{"x": {option}}}}}'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("PLUGIN = {\n", "plug-in mine.py: not valid Python in line 1: '{' was never closed"),
        ("x = 0\0", "plug-in mine.py: not valid Python"),
        ("", "plug-in mine.py: declares no PLUGIN; see docs/extending.md"),
        ("PLUGIN = dict(a=1)\n", "plug-in mine.py: PLUGIN in line 1 must be written out: only mappings, lists, "),
        ("PLUGIN = ['distiller']\n", "plug-in mine.py: PLUGIN must be a mapping from names"),
        ("PLUGIN = {1: {}}\n", "plug-in mine.py: PLUGIN must be a mapping from names"),
        ("PLUGIN = {'distillers': {}}\n",
         "plug-in mine.py: PLUGIN has the unknown section 'distillers'; known: source, bias, network, surrogate, "
         "debias, distiller, guidance, debiasing, figure. Did you mean 'distiller'?"),
        ("PLUGIN = {'distiller': 'mine'}\n", "plug-in mine.py: PLUGIN['distiller'] must be a mapping from names"),
        ("PLUGIN = {'distiller': {'a': []}}\n", "plug-in mine.py: distiller 'a' must be a mapping from names"),
        ("PLUGIN = {'distiller': {'a b': {}}}\n",
         "distiller 'a b' must have a name of letters, digits and underscores"),
        ("PLUGIN = {'distiller': {'a': {'option': {}}}}\n",
         "plug-in mine.py: distiller 'a' has the unknown key 'option'; known: description, use, like, required, "
         "options, files, seconds, seconds_fast, seconds_once, updates, megabytes. Did you mean 'options'?"),
        ("PLUGIN = {'distiller': {'a': {'required': 'x'}}}\n", "must have a list under 'required', not 'x'"),
        ("PLUGIN = {'distiller': {'a': {'required': ['x']}}}\n", "requires 'x', which is none of its options: none"),
        ("PLUGIN = {'distiller': {'a': {'options': {'kind': {}}}}}\n",
         "the option 'kind', which must be a JSON schema"),
        (DECLARED, "distiller 'firsts' needs a class Distiller, Selection or Assembly, and the file defines none"),
        (DECLARED + LEARNER, "'firsts' learns images, so it needs the option 'iterations', with a default or required"),
        ("PLUGIN = {'debias': {'a': {}}}\n",
         "needs a function sample_weights or estimate, and the file defines neither"),
        ("PLUGIN = {'debias': {'a': {}}}\ndef estimate(): pass\n",
         "debias 'a' has estimate only, so it must require the option 'surrogate'"),
        ("PLUGIN = {'debias': {'a': {'options': {'surrogate': {}}}}}\ndef sample_weights(): pass\n",
         "debias 'a' has the option 'surrogate', but no function estimate that reads it"),
        ("PLUGIN = {'source': {'a': {}}}\n", "source 'a' needs the key 'use': the name of its function or class"),
        ("PLUGIN = {'source': {'a': {'use': 'laod'}}}\ndef load(): pass\n",
         "source 'a' needs laod, which the file does not define. Did you mean 'load'?"),
        ("PLUGIN = {'distiller': {'a': {'use': 'x'}}}\n", "distiller 'a' takes no 'use'; that is for source, bias, "),
        ("PLUGIN = {'guidance': {'a': {}}}\n", "guidance 'a' needs Guidance, which the file does not define"),
        (SELECTOR.replace("firsts", "dm") % "{}", "plug-in mine.py: distiller 'dm' is built in; choose another name"),
        (selector('"integer"'), "has the option 'x', which must be a JSON schema"),
        (selector('{"typ": "integer"}'),
         "option 'x' with the unknown keyword 'typ'; known: type, *Did you mean 'type'?"),
        (selector('{"type": "int"}'), "'x' with the unknown type 'int'; known: string, *"),
        (selector('{"type": ["number", "nul"]}'), "'x' with the unknown type 'nul'; *Did you mean 'null'?"),
        (selector('{"x-scale": "epoch"}'), "'x' with the unknown x-scale 'epoch'; *Did you mean 'epochs'?"),
        (selector('{"$ref": "#/$defs/augmen"}'), "unknown $ref '#/$defs/augmen'; *Did you mean '#/$defs/augment'?"),
        (selector('{"minimum": "low"}'), "option 'x', which is no JSON schema: 'low' is not of type 'number'"),
        (selector('{"type": "integer", "default": 0.5}'),
         "option 'x' with a wrong default: 0.5 is not of type 'integer'"),
        (selector('{"type": "array", "items": {"typ": 1}}'), "has the option 'x[]' with the unknown keyword 'typ'"),
        (selector('{"$ref": "#/$defs/augment", "default": "colour"}'),
         "option 'x' with a wrong default: 'colour' does"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line(write, content, said):
    line = mistake(study(write(content), kind="firsts"))
    parts = said.split("*")
    assert line.startswith("plug-in mine.py: ")
    assert all(part in line for part in parts)
    assert len(line) < 400


def test_the_valid_file_that_the_broken_ones_come_from_is_taken(write):
    path = write(selector('{"type": "integer", "default": 5}'))
    assert load(study(path, kind="firsts")).config["distillers"]["mine"] == {"kind": "firsts", "x": 5}
    path = write(f"PLUGIN = {{'distiller': {{'firsts': {{'options': {{{LEARNS}}}}}}}}}\n" + LEARNER)
    assert load(study(path, kind="firsts")).config["distillers"]["mine"]["init"] == "real"


def test_a_kind_may_be_like_another_of_its_file_or_of_the_library(write):
    other = '{"options": {"x": {"type": "integer", "default": 5}}}, "others": {"like": "%s", "options": {"y": %s}}'
    path = write(SELECTOR % (other % ("firsts", '{"type": "integer", "default": 7}')))
    assert load(study(path, kind="others")).config["distillers"]["mine"] == {"kind": "others", "x": 5, "y": 7}
    line = mistake(study(write(SELECTOR % (other % ("first", "{}"))), kind="others"))
    assert "'others' is like 'first', which is no distiller that is declared before it; known: dc, " in line
    assert line.endswith(" Did you mean 'firsts'?")
    path = write(SELECTOR % '{"like": "herding", "options": {"epochs": {"type": "integer", "default": 3}}}')
    mine = {"kind": "firsts", "network": "small", "epochs": 3, "batch_size": 256, "learning_rate": 0.01}
    assert load(study(path, kind="firsts", network="small")).config["distillers"]["mine"] == mine
    assert mistake(study(path, kind="firsts")) == "distillers.mine.network: is missing"


def test_a_debias_is_refused_a_surrogate_that_does_not_give_what_it_reads(write):
    text = 'PLUGIN = {"debias": {"own": {"options": {"surrogate": {}}, "required": ["surrogate"], "reads": %s}}}\n'
    config = study(kind="random") | {"surrogates": {"a": {"kind": "supcon", "network": "small"}}}
    config["debias"] = {"uniform": {"kind": "own", "surrogate": "a"}}
    config["plugins"] = [write(text % '["embedding"]' + "def estimate(): pass\n")]
    load(config)
    write(text % '["logits"]' + "def estimate(): pass\n")
    wanted = "cross_entropy or cross_fitted or generalised_ce or lff"
    assert mistake(config) == f"debias.uniform.surrogate = 'a': own needs one of kind {wanted}, not supcon"
    write(text % '"logits"' + "def estimate(): pass\n")
    assert mistake(config).endswith("debias 'own' must have a list under 'reads', not 'logits'")


def test_wrong_paths_are_one_line(write):
    write("no code", "notes.txt")
    write("x = 1\n", "folder/nothing.py")
    assert mistake(study("gone.py")).startswith("plug-in gone.py: no such file or folder; paths are relative to the ")
    assert mistake(study("notes.txt")).startswith("plug-in notes.txt: is neither a Python file (.py) nor a folder")
    assert mistake(study("folder")) == "plug-in folder folder: no Python file in it declares PLUGIN"


def test_a_kind_that_two_files_add_is_one_line(write):
    first, second = write(SELECTOR % "{}", "a.py"), write(SELECTOR % "{}", "b.py")
    said = "plug-in b.py: distiller 'firsts' is also added by a.py; rename one of them"
    assert mistake(study(first, second, kind="firsts")) == said
    assert mistake(study(".", kind="firsts")) == said
    load(study(first, Path(first).resolve(), kind="firsts"))  # one file, named in two ways


# ---- running --------------------------------------------------------------------------------------------------------


def test_planning_neither_runs_a_plug_in_nor_imports_torch(write):
    path = write("raise SystemExit('it ran')\n" + SELECTOR % "{}")
    code = (
        "import json, sys\nfrom ddbias.planning.load import load\nfrom ddbias.planning import code_digest\n"
        "load(json.loads(sys.argv[1]))\n"
        "print(code_digest.digest('distill', [('distiller', 'firsts')]), 'torch' in sys.modules)"
    )
    call = [sys.executable, "-c", code, json.dumps(study(path, kind="firsts"))]
    done = subprocess.run(call, capture_output=True, text=True, env={"PYTHONPATH": str(code_digest.SCRIPTS)})
    assert done.returncode == 0, done.stderr
    digest, torch_is_there = done.stdout.split()
    assert len(digest) == 16
    assert torch_is_there == "False"


def test_code_that_fails_is_one_line_with_its_place(write):
    plugins.use([write(SELECTOR % "{}" + "\nimport no_such_library\n")])
    with pytest.raises(DdbiasError) as error:
        plugins.module("distiller", "firsts")
    line = "plug-in mine.py, line 9: ModuleNotFoundError: No module named 'no_such_library'"
    assert str(error.value) == line


def test_an_edited_file_is_loaded_anew_whatever_its_date(write, tmp_path):
    text = SELECTOR % "{}" + "\nNUMBER = 1\n"
    plugins.use([write(text)])
    assert plugins.module("distiller", "firsts").NUMBER == 1
    assert plugins.module("distiller", "firsts") is plugins.module("distiller", "firsts")
    dates = os.stat(tmp_path / "mine.py")
    plugins.use([write(text.replace("NUMBER = 1", "NUMBER = 2"))])
    os.utime(tmp_path / "mine.py", ns=(dates.st_atime_ns, dates.st_mtime_ns))
    assert plugins.module("distiller", "firsts").NUMBER == 2
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_folder_is_many_plug_ins_or_one(write):
    write(SELECTOR % "{}", "many/a.py")
    write(SELECTOR.replace("firsts", "others") % "{}", "many/b.py")
    write("x = 1\n", "many/no_plug_in.py")
    plugins.use(["many"])
    assert [kind for kind, one in plugins.kinds("distiller").items() if not one.built_in] == ["firsts", "others"]
    write(SELECTOR % "{}" + "from .helper import NUMBER\n", "one/__init__.py")
    write("NUMBER = 5\n", "one/helper.py")
    plugins.use(["one"])
    assert plugins.module("distiller", "firsts").NUMBER == 5
    assert plugins.find("distiller", "firsts").files == (Path("one/__init__.py"), Path("one/helper.py"))


def test_unknown_kinds_name_those_of_plug_ins():
    plugins.use([EXAMPLE])
    with pytest.raises(DdbiasError, match=r"known: .*pixel_moments.*Did you mean 'pixel_moments'"):
        plugins.module("distiller", "pixel_moment")
    plugins.use([])
    with pytest.raises(DdbiasError, match="unknown distiller kind 'pixel_moments'"):
        plugins.module("distiller", "pixel_moments")


OTHERS = """
import torch
from ddbias.datasets.bias.grayscale import Grayscale as Grey
from ddbias.learning.networks.lenet import LeNet
from ddbias.datasets.sources.digits import load_digits

PLUGIN = {
    "source": {"other_digits": {"use": "load"}},
    "bias": {"grey": {"use": "Grey"}},
    "network": {"net": {"use": "LeNet"}},
    "debias": {"ones": {}},
    "guidance": {"none": {}},
}

def load(*, data):
    return load_digits(data=data)

def sample_weights(split):
    return torch.ones(len(split)).double().numpy()

class Guidance:
    pass
"""


def test_other_sections_work_too(write, few_digits):
    plugins.use([write(OTHERS)])
    assert len(sources.load({"kind": "other_digits"}, data={})["train"].labels) == 1200
    assert type(bias.build({"kind": "grey"})).__name__ == "Grayscale"
    assert networks.build("net", channels=3, size=32, classes=3, seed=0).embedding_size == 84
    assert real_settings({"kind": "ones"}, few_digits(), None).weights.tolist() == [1.0] * 60
    assert plugins.module("guidance", "none").Guidance.__name__ == "Guidance"
    config = study("mine.py", kind="random")
    config["datasets"]["digits_fg"] = {"source": "other_digits", "bias": "grey"}
    config["networks"]["small"] = "net"
    config["debias"]["uniform"] = "ones"
    assert load(config).config["datasets"]["digits_fg"]["source"] == {"kind": "other_digits"}


# ---- what runs again ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_its_files_belong_to_the_jobs_that_use_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(EXAMPLE, "mine.py")
    uses = [("distiller", "pixel_moments"), ("debias", "uniform")]
    plain = [("distiller", "dm"), ("debias", "uniform")]
    without = code_digest.digest("distill", plain)
    plugins.use(["mine.py"])
    listed = code_digest.files("distill", uses)
    assert Path("mine.py") in listed
    assert code_digest.SCRIPTS / "ddbias/distill/learner.py" in listed  # which it imports
    assert code_digest.SCRIPTS / "ddbias/distill/distribution_matching.py" not in listed
    assert Path("mine.py") not in code_digest.files("distill", plain)
    assert code_digest.digest("distill", plain) == without
    before = code_digest.digest("distill", uses)
    (tmp_path / "elsewhere").mkdir()
    shutil.move("mine.py", "elsewhere/mine.py")
    plugins.use(["elsewhere/mine.py"])
    assert code_digest.digest("distill", uses) == before
    with open("elsewhere/mine.py", "a") as file:
        file.write("# edited\n")
    code_digest.forget()
    assert code_digest.digest("distill", uses) == before, "what it does is the same"
    with open("elsewhere/mine.py", "a") as file:
        file.write("EDITED = 1\n")
    code_digest.forget()
    assert code_digest.digest("distill", uses) != before
    assert code_digest.digest("distill", plain) == without


def test_which_class_it_uses_counts_and_its_texts_do_not(write):
    text = """
PLUGIN = {"bias": {"mine": {"use": "One", "description": "The first."}}}


class One:
    pass


class Two:
    pass
"""
    job = "synthesize_dataset", (("source", "digits"), ("bias", "mine"))
    digests = []
    for old, new in (("", ""), ("The first.", "A remark."), ('"use": "One"', '"use": "Two"')):
        plugins.use([write(text.replace(old, new) if old else text)])
        code_digest.forget()
        digests.append(code_digest.digest(*job))
    assert digests[0] == digests[1] != digests[2]


def test_every_file_of_a_package_belongs_to_it(write):
    write(SELECTOR % "{}" + "from .helper import NUMBER\n", "one/__init__.py")
    write("NUMBER = 5\n", "one/helper.py")
    plugins.use(["one"])
    assert {Path("one/__init__.py"), Path("one/helper.py")} <= set(
        code_digest.files("distill", [("distiller", "firsts")])
    )
    before = code_digest.digest("distill", [("distiller", "firsts")])
    write("NUMBER = 6\n", "one/helper.py")
    code_digest.forget()
    assert code_digest.digest("distill", [("distiller", "firsts")]) != before


def test_the_docs_show_the_example_as_it_is():
    for path in (EXAMPLE, FAR):
        assert f"```python\n{path.read_text()}```" in (ROOT / "docs/extending.md").read_text()


def test_the_debias_of_the_docs_lifts_the_odd_ones_out():
    plugins.use([FAR])
    images = np.full((8, 1, 2, 2), 100, np.uint8)
    images[3], images[4] = 200, 50  # the only one of class 0 that differs, and of class 1
    split = Split(images, np.repeat([0, 1], 4), None, np.arange(8), {"label_names": ["a", "b"]})
    found = real_settings({"kind": "far_from_mean", "power": 2}, split, None).weights
    # Distances to the mean are as 1, 1, 1 and 3 in either class, their squares as 1 to 9.
    np.testing.assert_allclose(found, np.array([1, 1, 1, 9, 9, 1, 1, 1]) / 3)
    assert set(real_settings({"kind": "far_from_mean", "power": 0}, split, None).weights) == {1}
