import numpy as np
import pytest
import synthesize_dataset
from ddbias.data.split import load_split
from ddbias.runtime import job
from PIL import Image


@pytest.fixture
def rule(tmp_path, snakemake):
    """What Snakemake hands to the script; `rule(name=value)` changes params."""

    def build(**params):
        given = {"source": {"kind": "digits"}, "bias": {"kind": "background", "severity": 1}, "ratio": 0.95}
        given |= {
            "test": "anti",
            "channels": None,
            "size": None,
            "pad": 1,
            "normalise": None,
            "attribute_noise": None,
            "seed": 4,
        }
        names = ("train.arrow", "test.arrow", "preview.png")
        output = {name.split(".")[0]: tmp_path / "out" / name for name in names}
        return snakemake("synthesize_dataset", input={}, output=output, params=given | params)

    return build


def test_outputs(rule):
    given = rule()
    synthesize_dataset.main(given)
    train, test = load_split(given.output.train), load_split(given.output.test)
    assert (len(train), len(test)) == (1200, 597)
    assert train.shape == test.shape == (3, 10, 10)
    assert np.mean(train.conflicting) == pytest.approx(0.05, abs=0.005)
    assert test.conflicting.all()
    assert (train.meta["ratio"], train.meta["seed"], test.meta["convention"]) == (0.95, 4, "anti")
    with Image.open(given.output.preview) as preview:
        assert preview.format == "PNG"


def test_ratio_may_be_absent(rule):
    given = rule(bias={"kind": "none"}, ratio=None, test="natural")
    synthesize_dataset.main(given)
    assert load_split(given.output.train).attributes is None


def test_a_users_mistake_is_one_line_and_leaves_no_output(rule, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        job.run(synthesize_dataset.main, rule(ratio=1.2))
    assert end.value.code == 1
    message = "ddbias: ratio is 1.2; bias 'background' needs an aligned ratio between 0 and 1\n"
    assert capsys.readouterr().err == message
    assert (tmp_path / "logs/synthesize_dataset.log").read_text().endswith(message)
    assert not (tmp_path / "out").exists()
