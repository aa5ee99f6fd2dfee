"""Measure the diversity of one distilled set and the attributes it shows, and write one row per draw and metric.

Fails when the distilled set, a split or a model is damaged.
"""

from ddbias.data.split import load_split
from ddbias.data.training_set import record, training_set
from ddbias.evaluation import records
from ddbias.evaluation.images import attribute_model, measures
from ddbias.learning import device
from ddbias.runtime import job


def main(snakemake):
    params, cell = snakemake.params, dict(snakemake.wildcards)
    where = device.prepare(params.device, params.threads, params.precision)
    train, test = load_split(snakemake.input.train, "train"), load_split(snakemake.input.test, "test")
    model = attribute_model.load(snakemake.input.attribute_model, params.network, test)
    stored, labels = training_set(snakemake.input.distilled, snakemake.input.train)
    images = measures.shown(stored, labels, train, params.seed)
    if snakemake.input.surrogate:
        embeddings = measures.learnt(snakemake.input.surrogate, train, where)
    else:
        embeddings = measures.untrained(params.network, train, params.seed, where)
    diverse = measures.diversity(
        images,
        {"train": train, "test": test}[params.settings["reference"]],
        embeddings,
        repeats=params.settings["repeats"],
        seed=params.seed,
        device=where,
    )
    table = measures.rows(
        list(diverse),
        measures.inheritance(images, test, model, where),
        {**cell, "seed": params.seed},
        images=len(images),
        tested=model.support if model else 0,
    )
    meta = {
        "convention": test.meta["convention"],
        "pairing": test.meta["pairing"],
        "settings": params.settings,
        "network": params.network,
        "provenance": device.provenance(where, params.threads, params.precision, compiles=False),
        "distillation": record(snakemake.input.distilled),
    }
    records.write(snakemake.output.evaluation, table, meta)


if "snakemake" in globals():
    job.run(main, snakemake)
