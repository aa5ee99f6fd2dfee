"""Distillers: from a split, a debias and a number of images per class to a distilled set.

A distiller is one module. One that *learns* images has a class ``Distiller``, a `ddbias.distill.learner.Learner`; one
that *selects* real images has a class ``Selection``, a `ddbias.distill.selector.Selector`.
"""
