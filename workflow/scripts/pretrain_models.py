"""Train one member of a pool of models and keep a snapshot of every epoch.

Fails when the training split is damaged or the training diverges.
"""

from ddbias.data.split import load_split
from ddbias.debias.apply import real_settings
from ddbias.distill import pretraining
from ddbias.learning import device
from ddbias.runtime import job
from ddbias.runtime.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params = snakemake.params
    where = device.prepare(params.device, params.threads, params.precision)
    provenance = device.provenance(where, params.threads, params.precision)
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    split = load_split(snakemake.input.train, "train")
    weights = None
    if params.debias is not None:
        weights = real_settings(params.debias, split, snakemake.input.weights).weights
    how = {"network": params.network, "settings": params.settings, "member": params.member}
    snapshots = pretraining.train_member(
        split, weights=weights, device=where, precision=params.precision, checkpoint=checkpoint, **how
    )
    pretraining.save_member(snakemake.output.member, snapshots, split, provenance=provenance, **how)
    checkpoint.remove()


if "snakemake" in globals():
    job.run(main, snakemake)
