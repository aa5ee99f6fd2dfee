"""Describe one data set and say what would go wrong with it later.

Fails when the data set or its source is damaged.
"""

from ddbias import data, data_check, job, sources


def main(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    raw = sources.load(params.source, data=snakemake.config["data"], size=params.size)
    lines, _ = data_check.check_data(
        data.load_split(snakemake.input.train),
        data.load_split(snakemake.input.test),
        {split: part.images for split, part in raw.items()},
        title=f"{wildcards.dataset}, aligned ratio {wildcards.ratio}",
        ipc=params.ipc,
    )
    data_check.write_check(snakemake.output.report, lines)


if "snakemake" in globals():
    job.run(main, snakemake)
