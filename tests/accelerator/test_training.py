"""Surrogates, pools of models, evaluations and measures of images on the accelerator give what they give on the CPU."""

from dataclasses import replace

import emulated_gpu
import numpy as np
import pytest
import torch
from ddbias import testing
from ddbias.base import plugins
from ddbias.data import store
from ddbias.debias import surrogate
from ddbias.distill import pretraining
from ddbias.evaluation import protocol
from ddbias.evaluation.images import attribute_model, measures
from ddbias.learning.augment.rules import RULES
from ddbias.learning.training import Recipe
from ddbias.planning.config import complete

NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
AUGMENT = "color_crop_cutout_flip_scale_rotate"


@pytest.fixture(scope="module")
def train(few_digits):
    return few_digits()


@pytest.fixture(scope="module")
def test(few_digits):
    return few_digits("test")


def settings(section, name, **changes):
    """What a study completes settings to."""
    known = {"distillers": {"checked": {"kind": "random"}}, "debias": {"checked": {"kind": "uniform"}}}
    changed = {section: {name: {**testing.STUDY[section][name], **changes}}}
    return complete({**testing.STUDY, **known, **changed})[section][name]


@pytest.mark.parametrize(
    ("kind", "changes"),
    [(kind, {"augment": AUGMENT}) for kind in plugins.kinds("surrogate")]
    + [("supcon", {"early_stopping": True, "check_every": 2})],
)
def test_surrogates(alike, train, kind, changes):
    how = settings("surrogates", "probe", kind=kind, **changes) | {"batch_size": 32, "steps": 4}

    def run(device, checkpoint):
        made, history = surrogate.train_surrogate(
            train, network=NETWORK, settings=how, seed=0, device=device, checkpoint=checkpoint
        )
        return history, surrogate.embed(made, train, device=device), made.model.state_dict()

    alike(run, stop=2)


@pytest.mark.parametrize("weighted", [False, True])
def test_pools(alike, train, weighted):
    how = settings("models", "pool", augment=AUGMENT, drops=[0.5])

    def run(device, checkpoint):
        return pretraining.train_member(
            train,
            network=NETWORK,
            settings=how,
            weights=np.linspace(1, 2, len(train)) if weighted else None,
            member=0,
            device=device,
            checkpoint=checkpoint,
        )

    alike(run, stop=2)


def evaluated(images, labels, test, *, network=NETWORK, recipe=None, debiasing=protocol.PLAIN, steps=4, repeats=2):
    def run(device, checkpoint):
        outcome = protocol.evaluate(
            images,
            labels,
            test,
            network=network,
            recipe=recipe or Recipe(batch_size=16),
            epochs=None,
            steps=steps,
            repeats=repeats,
            seed=0,
            device=device,
            debiasing=debiasing,
            checkpoint=checkpoint,
        )
        return outcome.counts, outcome.confidence

    return run


def normalised(split):
    return split.normalize(torch.from_numpy(split.images)), torch.from_numpy(split.labels)


@pytest.mark.parametrize("debiasing", ["none", *plugins.kinds("debiasing")])
def test_evaluations(alike, train, test, debiasing):
    recipe = Recipe(batch_size=16, augment=AUGMENT, schedule="two_drops")
    alike(evaluated(*normalised(train), test, recipe=recipe, debiasing={"kind": debiasing}), stop=1)


def test_a_network_left_on_the_cpu_is_caught(emulated, train, test, mutant):
    mutant(protocol, "derive(seed, *names)).to(device)", "derive(seed, *names))")
    with pytest.raises(emulated_gpu.Refused):
        evaluated(*normalised(train), test)(emulated, None)


@pytest.mark.parametrize("kind", plugins.kinds("network"))
def test_networks(alike, train, test, kind):
    large = replace(test, images=test.images[:8].repeat(4, 2).repeat(4, 3), labels=test.labels[:8], attributes=None)
    narrow = {"width": 4, "depth": 2} if kind.startswith("convnet") else {}
    alike(evaluated(*normalised(large), large, network={"kind": kind, **narrow}, steps=1, repeats=1))


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_augmentation(alike, train, test, rule):
    pieces = "crop_scale_rotate" if rule == "dc" else AUGMENT  # which has no others
    recipe = Recipe(batch_size=16, augment=pieces, augment_rule=rule)
    alike(evaluated(*normalised(train), test, recipe=recipe, repeats=1))


def test_evaluations_of_raw_images_and_mixed_ones(alike, train, test):
    raw = torch.from_numpy(train.images.copy()), torch.from_numpy(train.labels.copy())
    alike(evaluated(*raw, test, recipe=Recipe(batch_size=16, cutmix=0.5)))


def test_measures_of_images(alike, train, test, tmp_path):
    how = settings("surrogates", "probe", kind="supcon") | {"batch_size": 32, "steps": 2}
    images = measures.shown(*normalised(train), train, 0)

    def run(device, checkpoint):
        path = tmp_path / "surrogate.safetensors"
        trained, _ = surrogate.train_surrogate(
            train, network=NETWORK, settings=how, seed=0, device=device, checkpoint=checkpoint
        )
        store.write_tensors(path, trained.model.state_dict(), {"settings": how, "network": NETWORK, "seed": 0})
        model = attribute_model.train_attribute_model(
            train, test, network=NETWORK, settings={"steps": 4, "batch_size": 32, "learning_rate": 0.05}, device=device
        )
        diverse = [
            list(measures.diversity(images, test, embeddings, repeats=2, seed=0, device=device))
            for embeddings in (measures.untrained(NETWORK, train, 0, device), measures.learnt(str(path), train, device))
        ]
        attribute_model.save(tmp_path / "model.safetensors", model, {})
        read = attribute_model.load(tmp_path / "model.safetensors", NETWORK, test)
        return diverse, model.accuracy, measures.inheritance(images, test, read, device)

    alike(run)
