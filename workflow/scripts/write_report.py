"""Write the report of a study: one page that opens offline.

Fails when a table, a figure, or a file of a distilled set is damaged.
"""

import os

from ddbias.base import environment
from ddbias.results.report import page
from ddbias.runtime import job


def main(snakemake):
    page.build(
        study=snakemake.wildcards.study,
        scale=snakemake.wildcards.scale,
        title=snakemake.params.title,
        # Not a parameter: a new commit alone must not rerun the report.
        commit=os.environ.get(environment.COMMIT, "unknown"),
        tables=snakemake.input.tables,
        figures=snakemake.input.figures,
        distilled=snakemake.params.distilled,  # every planned folder, so that the page can name what is missing
        evaluations=snakemake.input.evaluations,
        weights=snakemake.input.weights,
        advice=snakemake.input.advice,
        captions=snakemake.params.captions,
        output=snakemake.output[0],
        template=snakemake.input.template,
    )


if "snakemake" in globals():
    job.run(main, snakemake)
