"""Train fresh networks on one distilled set, test them, and write one row per network and metric.

Fails when the distilled set or a split is damaged.
"""

from dataclasses import replace

from ddbias import data, device, distilled_images, evaluate, fast_evaluation, job
from ddbias.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params, cell = snakemake.params, dict(snakemake.wildcards)
    where = device.prepare(params.device, params.threads)
    test = data.load_split(snakemake.input.test)
    images, labels = distilled_images.training_set(snakemake.input.distilled, snakemake.input.train)
    recipe = evaluate.recipe(params.settings)
    rate = evaluate.learned_rate(snakemake.input.distilled) if params.settings["learned_rate"] else None
    if rate is not None:
        recipe = replace(recipe, learning_rate=rate)
    steps = params.settings["whole_steps"] if snakemake.input.train else None
    fast = None
    if params.precision == "fast":
        fast = fast_evaluation.fast_network(
            evaluate.build(params.network, test, where, params.seed, "probe"),
            test,
            count=len(labels),
            batch_size=recipe.batch_size,
            debiasing=params.settings["debiasing"],
            cutmix=recipe.cutmix,
        )
    provenance = device.provenance(where, params.threads, "fast" if fast else "exact")
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    outcome = evaluate.evaluate(
        images,
        labels,
        test,
        network=params.network,
        recipe=recipe,
        epochs=None if steps else params.settings["epochs"],
        steps=steps,
        repeats=params.settings["networks"],
        seed=params.seed,
        device=where,
        debiasing=params.settings["debiasing"],
        fast=fast,
        checkpoint=checkpoint,
        name="{distiller} {debias} ipc{ipc} seed{seed}".format(**cell),
    )
    evaluate.save(
        snakemake.output.evaluation,
        outcome,
        cell={**cell, "seed": params.seed},
        meta={
            "convention": test.meta["convention"],
            "pairing": test.meta["pairing"],
            "settings": params.settings,
            "network": params.network,
            "provenance": provenance,
        },
    )
    checkpoint.remove()


if "snakemake" in globals():
    job.run(main, snakemake)
