import numpy as np
import pretrain_models
import pytest
import torch
from ddbias.data import store
from ddbias.debias.apply import real_settings
from ddbias.distill import pretraining

SETTINGS = {"kind": "classifiers", "network": "small", "count": 2, "epochs": 2, "learning_rate": 0.05, "momentum": 0.9}
SETTINGS |= {"weight_decay": 0.0, "batch_size": 16, "augment": "none", "drops": [], "domain": None, "seed": 0}


@pytest.fixture
def rule(tmp_path, snakemake, splits):
    def build(member=0, weights=(), debias={"kind": "uniform"}):  # noqa: B006 (only read)
        return snakemake(
            "pretrain_models",
            input={"train": splits.train, "weights": weights or []},
            output={"member": tmp_path / f"member{member}.safetensors"},
            params={
                "settings": SETTINGS,
                "network": {"kind": "convnet", "width": 4, "depth": 2},
                "debias": debias,
                "member": member,
            },
            wildcards={"dataset": "digits", "ratio": "0.8", "models": "pool", "debias": "uniform"},
        )

    return build


def states(job):
    pretrain_models.main(job)
    member = pretraining.open_member(job.output.member)
    return [member.state(epoch) for epoch in member.epochs]


def vector(state):
    return torch.cat([tensor.flatten() for tensor in state.values()])


def test_a_snapshot_of_every_epoch(rule, tmp_path):
    found = states(rule())
    assert len(found) == 3
    assert not torch.equal(vector(found[0]), vector(found[2]))
    member = pretraining.open_member(tmp_path / "member0.safetensors")
    assert (member.channels, member.size, member.classes) == (3, 8, 3)
    assert member.network == {"kind": "convnet", "width": 4, "depth": 2}
    assert not (tmp_path / "state.safetensors").exists()


def test_members_differ_and_each_is_always_the_same(rule):
    first, again, second = states(rule()), states(rule()), states(rule(member=1))
    assert all(torch.equal(vector(a), vector(b)) for a, b in zip(first, again, strict=True))
    assert not torch.equal(vector(first[0]), vector(second[0]))


def test_weights_of_the_debias_enter_the_training(rule, splits, tmp_path):
    uniform = states(rule())
    balanced = states(rule(debias={"kind": "group_balanced"}))
    assert torch.equal(vector(uniform[0]), vector(balanced[0]))
    assert not torch.equal(vector(uniform[2]), vector(balanced[2]))
    split = splits.train_split
    table = {"index": split.index, "weight": real_settings({"kind": "group_balanced"}, split, None).weights}
    store.write_table(tmp_path / "weights.parquet", {k: np.asarray(v) for k, v in table.items()}, {})
    kde = states(rule(weights=str(tmp_path / "weights.parquet"), debias={"kind": "kde", "surrogate": "supcon"}))
    assert torch.equal(vector(balanced[2]), vector(kde[2]))
    fairdd = states(rule(debias={"kind": "fairdd", "draw": "uniform"}))  # groups cannot be matched here: balanced
    assert torch.equal(vector(balanced[2]), vector(fairdd[2]))


def test_a_domain_has_no_weights(rule):
    """Its images are others, so no debias is handed over: as with uniform weights."""
    assert torch.equal(vector(states(rule(debias=None))[2]), vector(states(rule())[2]))
