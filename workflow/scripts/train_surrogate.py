"""Train the surrogate of one data set and embed its training split.

Fails when the training split is damaged or the embedding is not finite.
"""

from ddbias.base import plugins
from ddbias.data import store
from ddbias.data.split import load_split
from ddbias.debias import surrogate
from ddbias.learning import device
from ddbias.runtime import job
from ddbias.runtime.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params = snakemake.params
    where = device.prepare(params.device, params.threads, params.precision)
    provenance = device.provenance(where, params.threads, params.precision, compiles=False)
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    split = load_split(snakemake.input.train, "train")
    objective, history = surrogate.train_surrogate(
        split, network=params.network, settings=params.settings, seed=params.seed, device=where, checkpoint=checkpoint
    )
    meta = {"settings": params.settings, "network": params.network, "seed": params.seed, "provenance": provenance}
    store.write_tensors(snakemake.output.model, objective.model.state_dict(), meta)
    with plugins.calling("surrogate", params.settings["kind"]):
        columns = surrogate.embed(objective, split, device=where)
    paired = {**meta, "pairing": split.meta["pairing"]}
    surrogate.save_embeddings(snakemake.output.embeddings, columns.pop("embedding"), split, paired, **columns)
    store.write_table(snakemake.output.history, history, meta)
    checkpoint.remove()


if "snakemake" in globals():
    job.run(main, snakemake)
