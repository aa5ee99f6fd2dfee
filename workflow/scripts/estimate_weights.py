"""Turn the embedding of a training split into sample weights inverse to their density.

Fails when the embedding is not finite.
"""

from ddbias import debias, device, groups, job, store, surrogate, weights


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    device.prepare("cpu", params.threads)
    columns, meta = surrogate.load_embeddings(snakemake.input.embeddings)
    settings = {k: v for k, v in params.settings.items() if k not in ("kind", "surrogate", "draw")}
    values, density = debias.module(params.settings["kind"]).sample_weights(
        columns.pop("embedding"), columns["label"], **settings
    )
    pairing = meta.pop("pairing", groups.IDENTITY)
    conflicting = groups.conflicting(columns["label"], columns.get("attribute"), pairing)
    store.write_table(
        snakemake.output.weights,
        {**columns, "log_density": density, "weight": values},
        {
            "dataset": wildcards.dataset,
            "ratio": wildcards.ratio,
            "debias": wildcards.debias,
            "seed": params.seed,
            "settings": params.settings,
            "pairing": pairing,
            "surrogate": meta,
            **weights.diagnose(values, density, conflicting),
        },
    )


if "snakemake" in globals():
    job.run(main, snakemake)
