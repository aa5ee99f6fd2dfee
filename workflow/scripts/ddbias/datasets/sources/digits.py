"""Real handwriting that ships with scikit-learn: 1,797 grey digits of 8x8 pixels, nothing to download."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "digits": {
            "description": (
                "The 1,797 real handwritten digits of 8x8 pixels that ship with scikit-learn; 1,200 train, 597 test."
            ),
            "use": "load_digits",
            "facts": {"train": 1200, "test": 597, "classes": 10, "channels": 1, "side": 8, "smallest_class": 116},
        }
    }
}

TRAIN_SIZE = 1200
SPLIT_SEED = 0  # fixed: the split is part of the data set, not of a run
LEVELS = 16  # the source stores intensities 0..16


def load_digits(*, data: Mapping[str, object]) -> dict[str, RawImages]:
    """Return 1,200 training and 597 test digits, stratified by label, each in source order.

    Intensities 0..16 become ``round(255 v / 16)``.

    Parameters
    ----------
    data : mapping
        Where files are looked for; not used, the images come with scikit-learn.
    """
    import sklearn
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    source = datasets.load_digits()
    images = np.rint(source.images * (255 / LEVELS)).astype(np.uint8)[:, None]
    labels = source.target.astype(np.int64)
    train, test = train_test_split(
        np.arange(len(labels)), train_size=TRAIN_SIZE, random_state=SPLIT_SEED, stratify=labels
    )
    provenance = {
        "source": "digits",
        "package": f"scikit-learn {sklearn.__version__}",
        "citation": "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (test part)",
        "licence": "CC BY 4.0 (data), BSD-3-Clause (scikit-learn)",
    }
    return {
        name: RawImages(images[rows], labels[rows], [str(d) for d in range(10)], provenance=provenance)
        for name, rows in (("train", np.sort(train)), ("test", np.sort(test)))
    }
