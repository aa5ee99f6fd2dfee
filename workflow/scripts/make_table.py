"""Write one table of a study as CSV, Markdown, LaTeX and HTML.

Fails when an evaluation is damaged or a published number is not found exactly once.
"""

import os

from ddbias.base import environment
from ddbias.results.tables import tabulate
from ddbias.runtime import job


def main(snakemake):
    tabulate.tabulate(
        evaluations=snakemake.input.evaluations,
        rows=snakemake.params.rows,
        published=snakemake.input.published,
        scale=snakemake.wildcards.scale,
        # Not a parameter: a new commit alone must not rerun the table.
        commit=os.environ.get(environment.COMMIT, "unknown"),
        outputs=dict(snakemake.output.items()),
        caption=snakemake.params.caption,
        spread=snakemake.params.spread,
    )


if "snakemake" in globals():
    job.run(main, snakemake)
