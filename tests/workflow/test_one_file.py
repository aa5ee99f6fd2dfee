"""A new source, debias, distiller, surrogate and figure is one file each: added to a copy of the checkout and run."""

import csv

import pytest

LIBRARY = "workflow/scripts/ddbias"
SOURCE = '''"""Digits upside down."""

from dataclasses import replace

from ddbias.datasets.sources.digits import load_digits

PLUGIN = {
    "source": {
        "digits_turned": {
            "use": "load_turned",
            "facts": {"train": 1200, "test": 597, "classes": 10, "channels": 1, "side": 8},
        }
    }
}


def load_turned(*, data):
    return {name: replace(part, images=part.images[:, :, ::-1].copy()) for name, part in load_digits(data=data).items()}
'''
SURROGATE = '''"""A classifier under the squared error of its probabilities."""

import torch
from ddbias.debias.surrogate.classifier import ClassifierObjective

PLUGIN = {
    "surrogate": {
        "brier": {
            "required": ["network"],
            "options": {
                "network": {"$ref": "#/$defs/surrogate_network"},
                "epochs": {"$ref": "#/$defs/surrogate_epochs"},
                "steps": {"$ref": "#/$defs/surrogate_steps"},
                "batch_size": {"$ref": "#/$defs/classifier_batch"},
                "learning_rate": {"$ref": "#/$defs/surrogate_rate"},
                "momentum": {"$ref": "#/$defs/classifier_momentum"},
                "weight_decay": {"$ref": "#/$defs/classifier_decay"},
                "augment": {"$ref": "#/$defs/classifier_augment"},
                "early_stopping": {"$ref": "#/$defs/surrogate_early_stopping"},
                "check_every": {"$ref": "#/$defs/surrogate_check_every"},
            },
            "gives": ["embedding", "logits"],
        }
    }
}


class Objective(ClassifierObjective):
    def loss(self, views, labels, rows):
        logits = self.model(views[0])
        wanted = torch.nn.functional.one_hot(labels, logits.shape[1])
        return (logits.softmax(1) - wanted).square().sum(1).mean()
'''
DEBIAS = '''"""Weights that grow with the probability that a classifier leaves to other classes."""

import numpy as np
from ddbias.debias.estimates import Estimate

PLUGIN = {
    "debias": {
        "doubted": {
            "required": ["surrogate"],
            "options": {"surrogate": {"type": "string"}, "floor": {"type": "number", "minimum": 0, "default": 0.1}},
            "reads": ["logits"],
        }
    }
}


def estimate(columns, *, floor):
    shares = np.exp(columns["logits"].astype(float))
    shares /= shares.sum(1, keepdims=True)
    weights = floor + 1 - shares[np.arange(len(shares)), columns["label"]]
    return Estimate(weights / weights.mean())
'''
DISTILLER = '''"""Control: the first images of every class."""

import torch
from ddbias.distill.selector import Selector

PLUGIN = {"distiller": {"firsts": {"description": "The first images of every class."}}}


class Selection(Selector):
    def select(self, ipc):
        return torch.cat([members[:ipc] for members in self.side.classes])
'''
FIGURE = '''"""How many sets there are."""

from matplotlib.figure import Figure

PLUGIN = {
    "figure": {
        "counted": {
            "required": ["dataset"],
            "options": {"dataset": {"type": "string"}},
            "files": ["evaluations", "distilled"],
        }
    }
}


def draw(*, settings, evaluations, distilled, **_):
    figure = Figure()
    figure.text(0.5, 0.5, f"{settings['dataset']}: {len(distilled)} sets, {len(evaluations)} evaluations")
    return figure
'''
FILES = {
    "datasets/sources/digits_turned.py": SOURCE,
    "debias/surrogate/brier.py": SURROGATE,
    "debias/kinds/doubted.py": DEBIAS,
    "distill/firsts.py": DISTILLER,
    "results/figures/counted.py": FIGURE,
}
STUDY = """
study: one_file
scale: quick
datasets: { turned: { source: digits_turned, bias: foreground, size: 16 } }
networks: { small: { kind: convnet, width: 4, depth: 2 } }
surrogates: { brier: { kind: brier, network: small, steps: 5 } }
debias: { doubted: { kind: doubted, surrogate: brier } }
distillers: { firsts: firsts }
evaluations: { small: { network: small, networks: 1, epochs: { quick: 2 } } }
grid:
  - { dataset: turned, ratios: [0.95], distillers: [firsts], debias: [doubted], ipc: [2], seeds: [0],
      evaluations: [small] }
tables: { main: {} }
figures: { counted: { kind: counted, dataset: turned } }
"""


@pytest.mark.thorough
def test_one_file_each(checkout):
    for path, text in FILES.items():
        (checkout / LIBRARY / path).write_text(text)
    (checkout / "one.yaml").write_text(STUDY)
    status, output = checkout.run("one.yaml")
    assert status == 0, output
    results = checkout / "results/one_file/quick"
    with open(results / "tables/main.csv") as file:
        (row, *_) = csv.DictReader(file)
    assert (row["distiller"], row["debias"], row["n"]) == ("firsts", "doubted", "1")
    assert 0 < float(row["mean"]) < 100
    assert "turned: 1 sets, 1 evaluations" in (results / "figures/counted.svg").read_text()
    wrong = STUDY.replace("surrogate: brier }", "surrogate: brier, flor: 1 }")
    (checkout / "wrong.yaml").write_text(wrong)
    status, output = checkout.run("wrong.yaml", "--dry-run")
    assert status != 0
    assert "debias.doubted.flor = 1: unknown key; known: kind, surrogate, floor. Did you mean 'floor'?" in output
