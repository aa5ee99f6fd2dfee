"""The libraries whose version changes results: the one list for reruns and provenance."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

# By the name that is imported, the name of the package.
LIBRARIES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "PIL": "pillow",  # decodes and resizes image files
    "cv2": "opencv-python-headless",
    "pyarrow": "pyarrow",
}


def versions(imported: Iterable[str] = tuple(LIBRARIES)) -> dict[str, str]:
    """Return the versions of those of `LIBRARIES` that are installed, by their names as packages.

    Parameters
    ----------
    imported : iterable of str
        Names as they are imported; others than those of `LIBRARIES` are passed over.
    """
    found = {}
    for package in sorted(LIBRARIES[name] for name in set(imported) & set(LIBRARIES)):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
