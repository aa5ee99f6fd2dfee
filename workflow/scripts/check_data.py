"""Describe one data set and say what would go wrong with it later.

Fails when the data set or its source is damaged.
"""

from ddbias.data.split import load_split
from ddbias.datasets import check as data_check
from ddbias.datasets import sources
from ddbias.runtime import job


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    raw = sources.load(params.source, data=snakemake.config["data"], size=params.size)
    lines, _ = data_check.check_data(
        load_split(snakemake.input.train),
        load_split(snakemake.input.test),
        {split: part.images for split, part in raw.items()},
        title=f"{wildcards.dataset}, aligned ratio {wildcards.ratio}",
        ipc=params.ipc,
    )
    data_check.write_check(snakemake.output.report, lines)


if "snakemake" in globals():
    job.run(main, snakemake)
