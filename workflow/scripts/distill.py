"""Make one distilled set: the chosen distiller on a training split, its real side formed by the chosen debias.

Fails when a class has fewer images than asked for, or the loss stops being finite.
"""

from pathlib import Path

from ddbias.data.split import load_split
from ddbias.debias.apply import real_settings
from ddbias.distill import engine, write
from ddbias.learning import device
from ddbias.runtime import job
from ddbias.runtime.checkpoint import Checkpoint, fingerprint


def main(snakemake):
    params, cell = snakemake.params, dict(snakemake.wildcards)
    run = write.Run()
    where = device.prepare(params.device, params.threads, params.precision)
    split = load_split(snakemake.input.train, "train")
    real = real_settings(params.debias, split, snakemake.input.weights)
    provenance = device.provenance(where, params.threads, params.precision)
    checkpoint = Checkpoint(params.state, fingerprint(dict(params), list(snakemake.input), provenance))
    result = engine.run(
        split,
        real=real,
        settings=params.settings,
        network=params.network,
        ipc=params.ipc,
        seed=params.seed,
        device=where,
        precision=params.precision,
        checkpoint=checkpoint,
        models=pools(snakemake.input.models),
        data=snakemake.config["data"],  # no param: where the files lie does not change the result
        name="{distiller} {debias} ipc{ipc} seed{seed}".format(**cell),
    )
    write.save(
        result,
        split,
        cell=cell,
        settings={"distiller": params.settings, "debias": params.debias, "network": params.network},
        provenance=provenance,
        outputs=snakemake.output,
        run=run,
    )
    checkpoint.remove()


def pools(files):
    """Return the members of every pool, by the name in their path: .../{models}/{debias}/member0.safetensors."""
    found = {}
    for path in map(Path, files):
        found.setdefault(path.parts[-3], []).append(path)
    return found


if "snakemake" in globals():
    job.run(main, snakemake)
