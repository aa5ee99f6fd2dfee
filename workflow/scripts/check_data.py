"""Describe one data set and name its problems.

Fails when the data set or its source is damaged.
"""

from ddbias.data.split import load_split
from ddbias.datasets import sources
from ddbias.datasets.check import check_data, write_check
from ddbias.runtime import job


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    raw = sources.load(params.source, data=snakemake.config["data"], size=params.size)
    lines, _ = check_data(
        load_split(snakemake.input.train, "train", verify=True),
        load_split(snakemake.input.test, "test", verify=True),
        {split: part.images for split, part in raw.items()},
        title=f"{wildcards.dataset}, aligned ratio {wildcards.ratio}",
        ipc=params.ipc,
    )
    write_check(snakemake.output.report, lines)


if "snakemake" in globals():
    job.run(main, snakemake)
