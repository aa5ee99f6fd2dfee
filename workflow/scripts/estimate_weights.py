"""Turn what a surrogate says about a training split into sample weights, and perhaps pseudo-groups.

The true attribute is in the file for figures only; no estimate sees it, but for the share that a debias says is known.
Fails when the embedding is not finite.
"""

from ddbias.base import groups
from ddbias.data import store
from ddbias.data.split import load_split
from ddbias.debias import surrogate
from ddbias.debias.estimation import estimate_weights
from ddbias.debias.weights.diagnosis import diagnose
from ddbias.learning import device
from ddbias.runtime import job


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    device.prepare("cpu", params.threads)
    columns, meta = surrogate.load_embeddings(snakemake.input.embeddings)
    found = estimate_weights(params.settings, columns, load_split(snakemake.input.train, "train"), seed=params.seed)
    kept = {name: columns[name] for name in ("index", "label", "attribute") if name in columns}
    more = {"group": found.groups, "log_density": found.log_density}
    kept |= {name: values for name, values in more.items() if values is not None}
    pairing = meta.pop("pairing", groups.IDENTITY)
    conflicting = groups.conflicting(columns["label"], columns.get("attribute"), pairing)
    store.write_table(
        snakemake.output.weights,
        {**kept, "weight": found.weights},
        {
            "dataset": wildcards.dataset,
            "ratio": wildcards.ratio,
            "debias": wildcards.debias,
            "seed": params.seed,
            "settings": params.settings,
            "pairing": pairing,
            "surrogate": meta,
            **found.diagnostics,
            **diagnose(found.weights, found.log_density, conflicting, columns["label"]),
        },
    )


if "snakemake" in globals():
    job.run(main, snakemake)
