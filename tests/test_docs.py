"""What the pages under docs/ tell people to write into a study is a study."""

import re
from pathlib import Path

import yaml
from ddbias.base.plugins.declarations import built_in
from ddbias.planning.config import load_schema
from ddbias.planning.load import load
from ddbias.planning.reference import reference

ROOT = Path(__file__).parents[1]


def test_the_snippets_on_evaluations_make_a_study():
    text = (ROOT / "docs" / "evaluation.md").read_text()
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        for section, named in yaml.safe_load(block).items():
            study[section] |= named
    study["figures"] = {"split": study["figures"]["split"]}
    study["networks"] |= {"convnet": "convnet", "vgg": "vgg11"}
    named = re.findall(
        r"`((?:schedule|cutmix|batch_size|augment|augment_rule|epochs|debiasing|learned_rate): [^`.]+(?:\.\d)?)`", text
    )
    assert len(named) > 8
    for number, line in enumerate(named):  # every single setting that the text names is one
        pieces = {"augment": "crop_scale_rotate"} if line.startswith("augment_rule") else {}  # without, it is refused
        study["evaluations"][f"said_{number}"] = {"network": "convnet"} | pieces | yaml.safe_load(line)
    entry = {
        "dataset": "digits_fg",
        "ratios": [0.1, 0.95],
        "debias": ["uniform", "group_balanced"],
        "seeds": [0],
        "evaluations": ["dc", "dsa", "look"],
    }
    study["grid"] = [
        {**entry, "distillers": ["dm", "random"], "ipc": [10]},
        {**entry, "distillers": ["whole"], "debias": ["uniform"], "ipc": ["all"]},
    ]
    cells = [{key: value for key, value in study["grid"][0].items() if key != "seeds"} | {"distillers": ["dm"]}]
    for table in study["tables"].values():
        table["cells"] = cells
    made = load(study)
    for table in ("amplification", "ranking"):
        assert all(len(row["terms"]) > 2 for row in made.table_rows(table))
    assert all("against" in row for row in made.table_rows("main") if row["debias"] == "group_balanced")
    assert {row["debias"] for row in made.figure_rows("split")} == {"uniform", "group_balanced"}


def test_the_reference_of_a_study_file_is_current():
    page = (ROOT / "docs/config.md").read_text()
    assert page == reference(load_schema()), "run make config-reference"
    for plugin in built_in().values():
        assert f"#### {plugin.section}: `{plugin.kind}`\n" in page
        assert plugin.description, plugin.kind


def test_the_index_names_every_page():
    index = (ROOT / "docs/README.md").read_text()
    named = set(re.findall(r"\]\(([\w/.-]+\.md)\)", index))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    assert pages | {"../README.md", "../CONTRIBUTING.md"} == named
