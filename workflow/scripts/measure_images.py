"""Measure the diversity of one distilled set and the attributes it shows, and write one row per draw and metric.

Fails when the distilled set, a split or a model is damaged.
"""

from ddbias import attribute_model, data, device, distilled_images, image_measures, job, results


def main(snakemake):
    params, cell = snakemake.params, dict(snakemake.wildcards)
    where = device.prepare(params.device, params.threads)
    train, test = data.load_split(snakemake.input.train), data.load_split(snakemake.input.test)
    model = attribute_model.load(snakemake.input.attribute_model, params.network, test)
    stored, labels = distilled_images.training_set(snakemake.input.distilled, snakemake.input.train)
    images = image_measures.shown(stored, labels, train, params.seed)
    if snakemake.input.surrogate:
        embeddings = image_measures.learnt(snakemake.input.surrogate, train, where)
    else:
        embeddings = image_measures.untrained(params.network, train, params.seed, where)
    diverse = image_measures.diversity(
        images,
        {"train": train, "test": test}[params.settings["reference"]],
        embeddings,
        repeats=params.settings["repeats"],
        seed=params.seed,
        device=where,
    )
    table = image_measures.rows(
        list(diverse),
        image_measures.inheritance(images, test, model, where),
        {**cell, "seed": params.seed},
        images=len(images),
        tested=model.support if model else 0,
    )
    meta = {
        "convention": test.meta["convention"],
        "pairing": test.meta["pairing"],
        "settings": params.settings,
        "network": params.network,
        "provenance": device.provenance(where, params.threads, "exact"),
    }
    results.write(snakemake.output.evaluation, table, meta)


if "snakemake" in globals():
    job.run(main, snakemake)
