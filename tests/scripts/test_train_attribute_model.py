from pathlib import Path

import pytest
import train_attribute_model as script
from ddbias.data import store
from ddbias.runtime import job

NETWORK = {"kind": "convnet", "width": 4, "depth": 1}
SETTINGS = {"steps": 3, "batch_size": 8, "learning_rate": 0.01}


@pytest.fixture
def rule(snakemake, splits, tmp_path):
    def build(name, **settings):
        return snakemake(
            "train_attribute_model",
            input={"train": splits.train, "test": splits.test},
            output={"model": tmp_path / "attribute_models" / f"{name}.safetensors"},
            params={"settings": {**SETTINGS, **settings}, "network": NETWORK},
            wildcards={"dataset": "digits_fg", "ratio": "0.8", "evaluation": "look"},
        )

    return build


def test_outputs(rule):
    given, again = rule("a"), rule("b")
    for one in (given, again):
        script.main(one)
    tensors, meta = store.read_tensors(given.output.model)
    assert tensors["head.weight"].shape[0] == 10, "one logit an attribute, where there are three labels"
    assert 0 <= meta["accuracy"] <= 1
    assert meta["support"] == 60 // 5
    assert (meta["settings"], meta["network"]) == (SETTINGS, NETWORK)
    assert Path(given.output.model).read_bytes() == Path(again.output.model).read_bytes()


def test_a_training_that_diverges_is_one_line_and_leaves_no_output(rule, tmp_path, capsys, log_lines):
    with pytest.raises(SystemExit):
        job.run(script.main, rule("a", learning_rate=1e30))
    assert (
        capsys.readouterr().err
        == "ddbias: the attribute classifier diverged; lower the learning_rate of the evaluation\n"
    )
    assert not (tmp_path / "attribute_models").exists()
