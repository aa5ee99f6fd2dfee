"""Train the classifier that reads the attribute of distilled images of one data set.

Fails when a split is damaged, has too few images, or the training diverges.
"""

from ddbias.data.split import load_split
from ddbias.evaluation.images import attribute_model
from ddbias.learning import device
from ddbias.runtime import job


def main(snakemake):
    params = snakemake.params
    where = device.prepare(params.device, params.threads, params.precision)
    train, test = load_split(snakemake.input.train, "train"), load_split(snakemake.input.test, "test")
    model = attribute_model.train_attribute_model(
        train, test, network=params.network, settings=params.settings, device=where
    )
    attribute_model.save(
        snakemake.output.model,
        model,
        {
            "settings": params.settings,
            "network": params.network,
            "provenance": device.provenance(where, params.threads, params.precision, compiles=False),
        },
    )


if "snakemake" in globals():
    job.run(main, snakemake)
