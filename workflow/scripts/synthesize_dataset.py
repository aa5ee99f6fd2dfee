"""Rule synthesize_dataset: inject a bias into a source; write the training and the test split and a preview."""

from ddbias.datasets.synthesis import write_dataset
from ddbias.runtime import job


def main(snakemake):
    write_dataset(
        train_path=snakemake.output.train,
        test_path=snakemake.output.test,
        preview_path=snakemake.output.preview,
        source=snakemake.params.source,
        bias=snakemake.params.bias,
        ratio=snakemake.params.ratio,
        test=snakemake.params.test,
        channels=snakemake.params.channels,
        size=snakemake.params.size,
        pad=snakemake.params.pad,
        normalise=snakemake.params.normalise,
        attribute_noise=snakemake.params.attribute_noise,
        seed=snakemake.params.seed,
        # Not a param: where the files lie does not change the result, so moving them must not rerun this rule.
        data=snakemake.config["data"],
    )


if "snakemake" in globals():
    job.run(main, snakemake)
