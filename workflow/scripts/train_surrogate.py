"""Train the surrogate of one data set and embed its training split.

Fails when the training split is damaged or the embedding is not finite.
"""

from ddbias import data, device, job, store, surrogate
from ddbias.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params = snakemake.params
    where = device.prepare(params.device, params.threads)
    split = data.load_split(snakemake.input.train)
    provenance = device.provenance(where, params.threads, "exact")
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    model, history = surrogate.train_surrogate(
        split,
        network=params.network,
        settings=params.settings,
        seed=params.seed,
        device=where,
        checkpoint=checkpoint,
    )
    meta = {
        "settings": params.settings,
        "network": params.network,
        "seed": params.seed,
        "provenance": provenance,
    }
    store.write_tensors(snakemake.output.model, model.state_dict(), meta)
    embeddings = surrogate.embed(model, split, layer=params.settings["embedding"], device=where)
    paired = {**meta, "pairing": split.meta["pairing"]}
    surrogate.save_embeddings(snakemake.output.embeddings, embeddings, split, paired)
    steps, losses = zip(*history, strict=True)
    store.write_table(snakemake.output.history, {"step": list(steps), "loss": list(losses)}, meta)
    checkpoint.remove()


if "snakemake" in globals():
    job.run(main, snakemake)
