"""Distillers: from a split, a debias and a number of images per class to a distilled set.

A distiller is one module. One that *learns* images has a class ``Distiller``, a `ddbias.distill.learner.Learner`; one
that *selects* real images has a class ``Selection``, a `ddbias.distill.selector.Selector`; one that *assembles* images
out of real ones has a class ``Assembly``, a `ddbias.distill.selector.Assembler`.

The package can be called: ``ddbias.distill(images, labels, ipc=10)`` is `ddbias.calls.distill`.
"""

import importlib
import sys
from types import ModuleType


class _Called(ModuleType):
    """Python names the package like the public function as soon as a module of it is imported; so it is both."""

    def __call__(self, *args: object, **options: object) -> object:
        # By its name: the code of a job does not depend on it (`ddbias.planning.code_digest` reads import statements).
        return importlib.import_module("ddbias.calls").distill(*args, **options)


sys.modules[__name__].__class__ = _Called
