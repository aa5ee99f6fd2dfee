"""Distillers: from a split, a debias and a number of images per class to a distilled set.

A distiller is one module. One that *learns* images has a class ``Distiller`` (see `ddbias.distill.engine`); one
that *selects* real images has a function ``select``.
"""
