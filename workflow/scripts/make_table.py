"""Write one table of a study as CSV, Markdown, LaTeX and HTML.

Fails when an evaluation is damaged or a published number is not found exactly once.
"""

import os

from ddbias import job, tables


def main(snakemake):
    tables.tabulate(
        evaluations=snakemake.input.evaluations,
        rows=snakemake.params.rows,
        published=snakemake.input.published,
        scale=snakemake.wildcards.scale,
        # Not a parameter: a new commit alone must not rerun the table.
        commit=os.environ.get("DDBIAS_COMMIT", "unknown"),
        outputs=dict(snakemake.output.items()),
        caption=snakemake.params.caption,
        spread=snakemake.params.spread,
    )


if "snakemake" in globals():
    job.run(main, snakemake)
