"""What the pages under docs/ tell people to write into a study is a study."""

import re
from pathlib import Path

import yaml
from ddbias.planning.load import load

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
