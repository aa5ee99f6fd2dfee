# The parameters of each stage: what changes a result, and nothing else.
def entry(section, wildcard):
    """Return the parameter function of what a section of the study says of the name in a wildcard."""
    return lambda wildcards: study.config[section][getattr(wildcards, wildcard)]


def part(settings, key):
    """Return the parameter function of a key of other settings."""
    return lambda wildcards: settings(wildcards)[key]


def network_of(settings):
    """Return the parameter function of the network that settings name, None where they name none."""

    def network(wildcards):
        name = settings(wildcards).get("network")
        return study.config["networks"][name] if name else None

    return network


dataset_settings = entry("datasets", "dataset")
surrogate_settings = entry("surrogates", "surrogate")
debias_settings = entry("debias", "debias")
pool_settings = entry("models", "models")
evaluation_settings = entry("evaluations", "evaluation")
table_settings = entry("tables", "table")


def ratio(wildcards):
    return None if wildcards.ratio == NATURAL else float(wildcards.ratio)


def seed(wildcards):
    return int(wildcards.seed)


def ipc(wildcards):
    return wildcards.ipc if wildcards.ipc == WHOLE else int(wildcards.ipc)


def largest_ipc(wildcards):
    """Return the most images per class that the grid asks for in a data set."""
    cells = study.select(dataset=wildcards.dataset, ratio=wildcards.ratio)
    return max((int(cell.ipc) for cell in cells if cell.ipc != WHOLE), default=1)


def pool_debias(wildcards):
    return None if pool_settings(wildcards)["domain"] else debias_settings(wildcards)


def member(wildcards):
    return int(wildcards.member)


def distiller_settings(wildcards):
    return study.distiller(wildcards)


def attribute_settings(wildcards):
    """Return what the attribute classifier depends on: another number of draws trains no other one."""
    return {key: evaluation_settings(wildcards)[key] for key in ("steps", "batch_size", "learning_rate")}


def whole_steps(wildcards):
    """Return the optimiser steps on a whole training set; None for other sets, which have epochs."""
    settings = distiller_settings(wildcards)
    if settings["kind"] != "whole":
        return None
    return settings["steps"] or evaluation_settings(wildcards)["whole_steps"]


def table_rows(wildcards):
    return study.table_rows(wildcards.table)


def figure_settings(wildcards):
    settings = study.config["figures"][wildcards.figure]
    if plugins.find("figure", settings["kind"]).facts.get("kernels"):
        return settings | {"kernels": study.kernels(settings["debias"])}
    if "compare" in settings:
        return settings | {"rows": study.figure_rows(wildcards.figure)}
    return settings
