"""Export the finished distilled sets of a study for other people's tools.

Fails when a set is damaged, none is finished, or the folder holds something else.
"""

from ddbias.results.export.write import export_study
from ddbias.runtime import job


def main(snakemake):
    export_study(
        study=snakemake.wildcards.study,
        scale=snakemake.wildcards.scale,
        folder=snakemake.params.folder,
        distilled=snakemake.input.distilled,
        runs=snakemake.input.runs,
        trains=snakemake.input.trains,
        evaluations=snakemake.input.evaluations,
        planned=snakemake.params.planned,
        card=snakemake.input.card,
        readme=snakemake.input.readme,
        summary=snakemake.output.summary,
    )


if "snakemake" in globals():
    job.run(main, snakemake)
