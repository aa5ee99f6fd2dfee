"""Say whether a training set has a bias, from its images and labels alone, and what to do about it.

Fails when the data set is damaged.
"""

from pathlib import Path

from ddbias.data import preview, store
from ddbias.data.split import load_split
from ddbias.debias import advice
from ddbias.learning import device
from ddbias.runtime import job
from ddbias.runtime.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    where = device.prepare(params.device, params.threads, params.precision)
    provenance = device.provenance(where, params.threads, params.precision, compiles=False)
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    split = load_split(snakemake.input.train, "train")
    found = advice.advise(split, seed=params.seed, device=where, checkpoint=checkpoint)
    rows = advice.heaviest(found.weights)
    written = advice.captions(split.labels[rows], split.meta["label_names"])
    preview.save_grid(snakemake.output.picture, advice.tiles(split.images[rows]), captions=written)
    title = f"{wildcards.dataset}, aligned ratio {wildcards.ratio}"
    lines = advice.in_words(found, split, title=title, picture=Path(snakemake.output.picture).name)
    store.write_bytes(snakemake.output.advice, "\n".join(lines).encode())
    checkpoint.remove()


if "snakemake" in globals():
    job.run(main, snakemake)
