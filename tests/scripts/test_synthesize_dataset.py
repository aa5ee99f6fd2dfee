from types import SimpleNamespace

import numpy as np
import pytest
import synthesize_dataset
from ddbias.base.environment import RUN_PID
from ddbias.data.split import load_split
from ddbias.runtime import job
from PIL import Image


@pytest.fixture
def rule(tmp_path):
    """What Snakemake hands to the script; `rule(name=value)` changes params."""

    def build(**params):
        given = {
            "source": {"kind": "digits"},
            "bias": {"kind": "background", "severity": 1},
            "ratio": 0.95,
            "test": "anti",
            "channels": None,
            "size": None,
            "pad": 1,
            "normalise": None,
            "seed": 4,
        }
        return SimpleNamespace(
            rule="synthesize_dataset",
            params=SimpleNamespace(**{**given, **params}),
            output=SimpleNamespace(
                train=str(tmp_path / "out" / "train.arrow"),
                test=str(tmp_path / "out" / "test.arrow"),
                preview=str(tmp_path / "out" / "preview.png"),
            ),
            log=[str(tmp_path / "log.txt")],
            config={"data": {"root": str(tmp_path / "data"), "mirrors": []}, "plugins": []},
        )

    return build


def test_outputs(rule):
    snakemake = rule()
    synthesize_dataset.main(snakemake)
    train, test = load_split(snakemake.output.train), load_split(snakemake.output.test)
    assert (len(train), len(test)) == (1200, 597)
    assert train.shape == test.shape == (3, 10, 10)
    assert np.mean(train.conflicting) == pytest.approx(0.05, abs=0.005)
    assert test.conflicting.all()
    assert (train.meta["ratio"], train.meta["seed"], test.meta["convention"]) == (0.95, 4, "anti")
    with Image.open(snakemake.output.preview) as preview:
        assert preview.format == "PNG"


def test_ratio_may_be_absent(rule):
    snakemake = rule(bias={"kind": "none"}, ratio=None, test="natural")
    synthesize_dataset.main(snakemake)
    assert load_split(snakemake.output.train).attributes is None


def test_a_users_mistake_is_one_line_and_leaves_no_output(rule, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv(RUN_PID, raising=False)
    with pytest.raises(SystemExit) as end:
        job.run(synthesize_dataset.main, rule(ratio=1.2))
    assert end.value.code == 1
    message = "ddbias: ratio is 1.2; bias 'background' needs an aligned ratio between 0 and 1\n"
    assert capsys.readouterr().err == message
    assert (tmp_path / "log.txt").read_text().endswith(message)
    assert not (tmp_path / "out").exists()
