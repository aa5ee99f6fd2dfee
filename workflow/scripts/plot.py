"""Draw one figure of a study as PNG and SVG.

Fails when a file that the figure shows is damaged.
"""

from ddbias.results import figures
from ddbias.runtime import job


def main(snakemake):
    files = {name: snakemake.input.get(name, []) for name in figures.FILES}
    figures.plot(
        kind=snakemake.params.kind,
        outputs=dict(snakemake.output.items()),
        settings=snakemake.params.settings,
        **{name: [paths] if isinstance(paths, str) else paths for name, paths in files.items()},
    )


if "snakemake" in globals():
    job.run(main, snakemake)
