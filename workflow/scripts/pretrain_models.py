"""Train one member of a pool of models and keep a snapshot of every epoch.

Fails when the training split is damaged or the training diverges.
"""

from ddbias import cache, data, debias, device, job, pretraining
from ddbias.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params = snakemake.params
    where = device.prepare(params.device, params.threads)
    provenance = device.provenance(where, params.threads, "exact")
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    shared = cache.Entry(snakemake, lambda: provenance)
    if shared.take():
        checkpoint.remove()
        return
    split = data.load_split(snakemake.input.train)
    weights = None
    if params.debias is not None:
        weights = debias.load(params.debias, split, snakemake.input.weights).weights
    snapshots = pretraining.train_member(
        split,
        network=params.network,
        settings=params.settings,
        weights=weights,
        member=params.member,
        device=where,
        checkpoint=checkpoint,
    )
    pretraining.save_member(
        snakemake.output.member,
        snapshots,
        split,
        network=params.network,
        settings=params.settings,
        member=params.member,
        provenance=provenance,
    )
    shared.keep()
    checkpoint.remove()


if "snakemake" in globals():
    job.run(main, snakemake)
