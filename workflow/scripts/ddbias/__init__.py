"""ddbias: how dataset distillation amplifies the bias of an image data set, and how to undo it.

The package is imported by the thin scripts beside it and by notebooks. Modules import downwards only, in the
order of the table in ``docs/architecture.md``; importing ``ddbias`` itself loads nothing.
"""

__version__ = "0.1.0"
