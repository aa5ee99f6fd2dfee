"""Import torchvision also where its compiled extension cannot be loaded.

The torchvision on the Python package index is a CUDA build. Beside a CPU build of torch its extension does not
load, and since 0.18 ``import torchvision`` then fails with "operator torchvision::nms does not exist", because it
attaches meta kernels to operators that only the extension defines. Nothing here needs those operators (box
suppression), so they are declared without a kernel: the import works, calling one still raises.

Use ``from ddbias.datasets.sources.torchvision_compat import torchvision`` instead of ``import torchvision``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _extension_loads() -> bool:
    """Tell whether torchvision's own operators are, or can be, loaded from its compiled extension."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True  # not installed: the import below says so better than we could
    for library in sorted(Path(spec.origin).parent.glob("_C.*")):
        try:
            torch.ops.load_library(str(library))
        except (ImportError, OSError):
            continue
        return True
    return False


# The declarations live as long as this object, so it must not be collected.
_DECLARED: torch.library.Library | None = None
if not _extension_loads():
    _DECLARED = torch.library.Library("torchvision", "DEF")
    for _schema in SCHEMAS:
        _DECLARED.define(_schema)

import torchvision  # noqa: E402 (only importable after the declarations)

__all__ = ["torchvision"]
