import estimate_weights as script
import numpy as np
import pytest
from ddbias.data import store
from ddbias.data.split import load_split, save_split
from ddbias.debias import surrogate
from ddbias.debias.apply import real_settings
from ddbias.debias.estimates import Estimate
from ddbias.debias.estimation import estimate_weights
from ddbias.debias.kinds import kde
from ddbias.runtime import job

SETTINGS = {"kind": "kde", "surrogate": "supcon", "draw": "proportional", "variance": 0.1, "temperature": 1.0}
SETTINGS |= {"leave_one_out": False, "clip": None, "chunk_size": 16}


@pytest.fixture
def embedding(splits):
    """A surrogate's embedding that tells the attributes apart."""
    rng = np.random.default_rng(0)
    values = np.eye(10)[splits.train_split.attributes] + rng.normal(scale=0.05, size=(60, 10))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rule(snakemake, tmp_path):
    def build(split, embedding, **settings):
        path, train = tmp_path / "embeddings.arrow", tmp_path / "train.arrow"
        save_split(train, split)
        surrogate.save_embeddings(path, embedding, split, {"seed": 2})
        return snakemake(
            "estimate_weights",
            input={"embeddings": str(path), "train": str(train)},
            output={"weights": tmp_path / "weights" / "weights.parquet"},
            params={"settings": {**SETTINGS, **settings}, "seed": 2, "threads": 1},
            wildcards={"dataset": "digits_fg", "ratio": "0.8", "debias": "kde", "seed": "2"},
        )

    return build


def test_outputs(rule, splits, embedding):
    split = splits.train_split
    given = rule(split, embedding)
    script.main(given)
    table, meta = store.read_table(given.output.weights)
    assert set(table.column_names) == {"index", "label", "attribute", "log_density", "weight"}
    options = {name: SETTINGS[name] for name in ("variance", "temperature", "leave_one_out", "clip", "chunk_size")}
    found = kde.estimate({"embedding": embedding, "label": split.labels}, **options)
    weights, density = found.weights, found.log_density
    np.testing.assert_array_equal(table["weight"], weights)
    np.testing.assert_array_equal(table["log_density"], density)
    np.testing.assert_array_equal(
        real_settings(SETTINGS, load_split(splits.train), given.output.weights).weights, weights
    )
    assert weights[split.conflicting].mean() > 2 * weights[~split.conflicting].mean()
    share = weights[split.conflicting].sum() / weights.sum()
    assert meta["conflicting_share"] == pytest.approx(share)
    assert meta["auc"] > 0.95
    assert (meta["dataset"], meta["ratio"], meta["debias"], meta["seed"]) == ("digits_fg", "0.8", "kde", 2)
    assert meta["surrogate"]["seed"] == 2


@pytest.mark.parametrize("kind", ["group_balanced", "fairdd", "cobra"])
def test_pseudo_groups_are_in_the_file(rule, splits, embedding, kind):
    split, settings = splits.train_split, {"kind": kind, "surrogate": "supcon", "groups": "clusters", "clusters": 2}
    given = rule(split, embedding)
    given.params.settings.clear()
    given.params.settings.update(settings)
    script.main(given)
    table, meta = store.read_table(given.output.weights)
    assert set(table.column_names) == {"index", "label", "attribute", "group", "weight"}
    assert meta["auc"] is None
    found = real_settings(settings, load_split(splits.train), given.output.weights)
    for label in range(3):  # each class has two clusters, which hold the same weight
        members = split.labels == label
        groups = table["group"].to_numpy()[members]
        assert [found.weights[members][groups == name].sum() for name in np.unique(groups)] == pytest.approx([10, 10])
    assert found.pooling == {"group_balanced": "mean", "fairdd": "groups", "cobra": "barycentre"}[kind]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "spare", "max_clusters": 3}, {"silhouettes", "clusters"}),
        ({"kind": "cobra", "groups": "dbscan"}, {"eps"}),
    ],
)
def test_what_clustering_found_is_told_for_each_class(rule, splits, embedding, settings, told):
    split = splits.train_split
    given = rule(split, embedding)
    surrogate.save_embeddings(given.input.embeddings, embedding, split, {"seed": 2}, logits=9 * embedding[:, :3])
    given.params.settings.clear()
    given.params.settings.update({**settings, "surrogate": "supcon"})
    script.main(given)
    table, meta = store.read_table(given.output.weights)
    assert {name for name in told if len(meta[name]) == 3} == told
    assert set(table.column_names) == {"index", "label", "attribute", "group", "weight"}


def test_known_attributes_are_drawn_with_the_seed_of_the_cell(rule, splits, embedding):
    split = splits.train_split
    settings = {"kind": "fairdd", "surrogate": "supcon", "groups": "clusters", "clusters": 2, "known": 0.3}
    given = rule(split, embedding)
    given.params.settings.clear()
    given.params.settings.update(settings)
    script.main(given)
    groups = store.read_table(given.output.weights)[0]["group"].to_numpy()
    columns = surrogate.load_embeddings(given.input.embeddings)[0]
    np.testing.assert_array_equal(groups, estimate_weights(settings, columns, seed=2).groups)
    assert (groups != estimate_weights(settings, columns, seed=3).groups).any()


def test_what_a_debias_adds_is_kept_with_its_weights(rule, splits, embedding, monkeypatch):
    found = Estimate(np.arange(60.0) + 1, diagnostics={"depth": 0.25})
    monkeypatch.setattr(kde, "estimate", lambda columns, **_: found)
    given = rule(splits.train_split, embedding)
    script.main(given)
    table, meta = store.read_table(given.output.weights)
    assert meta["depth"] == 0.25
    assert "log_density" not in table.column_names
    np.testing.assert_array_equal(table["weight"], found.weights)


def test_unknown_attributes(rule, few_digits, embedding):
    given = rule(few_digits(known=False), embedding)
    script.main(given)
    table, meta = store.read_table(given.output.weights)
    assert "attribute" not in table.column_names
    assert meta["auc"] is None
    assert np.isfinite(table["weight"].to_numpy()).all()


def test_a_broken_embedding_is_one_line_and_leaves_no_output(rule, splits, embedding, tmp_path, capsys, log_lines):
    embedding[7, 3] = np.nan
    with pytest.raises(SystemExit):
        job.run(script.main, rule(splits.train_split, embedding))
    message = capsys.readouterr().err
    assert message.startswith(f"ddbias: {tmp_path}/embeddings.arrow is damaged")
    assert "embedding holds values that are not finite numbers" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "weights").exists()
