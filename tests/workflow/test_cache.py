"""Studies in different checkouts share what they have in common, when they are told to and only then."""

import pytest
import yaml

pytestmark = pytest.mark.slow
FILES = {  # and the log of the job that makes it
    "data/digits_fg/0.95/train.arrow": "synthesize_dataset/digits_fg/0.95.log",
    "surrogates/digits_fg/0.95/supcon/seed0/model.safetensors": "train_surrogate/digits_fg/0.95/supcon/seed0.log",
    "models/digits_fg/0.95/convnets/uniform/member0.safetensors": (
        "pretrain_models/digits_fg/0.95/convnets/uniform/member0.log"
    ),
    "models/digits_fg/0.95/mlps/uniform/member0.safetensors": "pretrain_models/digits_fg/0.95/mlps/uniform/member0.log",
}


def run(checkout, name, **variables):
    """Make a data set, a surrogate and two pools; return all their files, and what the log of each job says."""
    study = yaml.safe_load((checkout / checkout.study()).read_text())
    study["networks"]["mlp"] = {"kind": "mlp"}
    pool = {"kind": "classifiers", "epochs": 1, "count": 1}
    study["models"] = {"convnets": {**pool, "network": "small"}, "mlps": {**pool, "network": "mlp"}}
    guidance = {"kind": "clom", "models": ["convnets", "mlps"]}
    study["distillers"]["guided"] = study["distillers"]["dm"] | {"guidance": guidance}
    study["grid"][0]["distillers"] = ["dm", "guided"]
    config = checkout.study(f"{name}.yaml", **study | {"study": name})
    results = checkout / "results" / name / "quick"
    status, output = checkout.run(config, *(f"results/{name}/quick/{path}" for path in FILES), **variables)
    assert status == 0, output
    assert not list((results / "state").rglob("*.safetensors"))
    made = contents(results)
    assert set(FILES) < set(made)
    return made, {path: (results / "logs" / log).read_text() for path, log in FILES.items()}


def contents(results):
    """Return the bytes of all data sets, surrogates and pools; all are plain files."""
    paths = [path for kind in ("data", "surrogates", "models") for path in (results / kind).rglob("*.*")]
    files = [path for path in paths if not path.is_dir()]
    assert not any(path.is_symlink() for path in files)
    return {str(path.relative_to(results)): path.read_bytes() for path in files}


def test_a_second_study_takes_what_a_first_one_made(pristine, finished_run, tmp_path):
    first, second = (pristine.copy(tmp_path / name) for name in ("a first one", "a second one"))
    second.append("workflow/scripts/ddbias/learning/networks/mlp.py")
    place = {"DDBIAS_CACHE": str(tmp_path / "a cache")}
    without = contents(finished_run / "results/tiny/quick")
    made, logs = run(first, "one", **place)
    assert len(without) == 6
    assert {path: made[path] for path in without} == without
    assert all("kept in the cache" in text for text in logs.values())
    again, logs = run(second, "two", **place)
    assert again == made
    *same, edited = FILES
    for path in same:
        assert "taken from the cache" in logs[path]
        assert logs[path].count("\n") == 1  # nothing was trained
    assert "taken" not in logs[edited]
    assert "kept in the cache" in logs[edited]
    assert second.planned("two.yaml", *(f"results/two/quick/{path}" for path in FILES)) == {}
