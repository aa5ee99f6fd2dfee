"""Train fresh networks on one distilled set, test them, and write one row per network and metric.

Fails when the distilled set or a split is damaged.
"""

from dataclasses import replace

from ddbias.data.split import load_split
from ddbias.data.training_set import learned_rate, record, training_set, training_soft_labels
from ddbias.evaluation import protocol
from ddbias.evaluation.fast import fast_network
from ddbias.evaluation.grey import grey_copies, grey_split
from ddbias.learning import device
from ddbias.runtime import job
from ddbias.runtime.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params, cell = snakemake.params, dict(snakemake.wildcards)
    where = device.prepare(params.device, params.threads, params.precision)
    test = load_split(snakemake.input.test, "test")
    images, labels = training_set(snakemake.input.distilled, snakemake.input.train)
    soft_labels = training_soft_labels(snakemake.input.distilled) if params.settings["soft_labels"] else None
    if params.settings["grey"]:
        images, test = grey_copies(images, test.meta["mean"], test.meta["std"]), grey_split(test)
    recipe = protocol.recipe(params.settings)
    rate = learned_rate(snakemake.input.distilled) if params.settings["learned_rate"] else None
    if rate is not None:
        recipe = replace(recipe, learning_rate=rate)
    fast = None
    if params.precision == "fast":
        fast = fast_network(
            protocol.build(params.network, test, where, params.seed, "probe"),
            test,
            count=len(labels),
            batch_size=recipe.batch_size,
            debiasing=params.settings["debiasing"],
            cutmix=recipe.cutmix,
            soft_labels=soft_labels is not None,
        )
    provenance = device.provenance(where, params.threads, params.precision, compiles=fast is not None)
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    outcome = protocol.evaluate(
        images,
        labels,
        test,
        network=params.network,
        recipe=recipe,
        epochs=None if params.steps else params.settings["epochs"],
        steps=params.steps,
        repeats=params.settings["networks"],
        seed=params.seed,
        device=where,
        debiasing=params.settings["debiasing"],
        fast=fast,
        checkpoint=checkpoint,
        soft_labels=soft_labels,
        name="{distiller} {debias} ipc{ipc} seed{seed}".format(**cell),
    )
    protocol.save(
        snakemake.output.evaluation,
        outcome,
        cell={**cell, "seed": params.seed},
        meta={
            "convention": test.meta["convention"],
            "pairing": test.meta["pairing"],
            "settings": params.settings | ({"whole_steps": params.steps} if params.steps else {}),
            "network": params.network,
            "provenance": provenance,
            "distillation": record(snakemake.input.distilled),
        },
    )
    checkpoint.remove()


if "snakemake" in globals():
    job.run(main, snakemake)
