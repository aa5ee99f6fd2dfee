# The parameters of each stage: what changes a result, and nothing else.
def dataset_param(key):
    return lambda wildcards: study.config["datasets"][wildcards.dataset][key]


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


def surrogate_settings(wildcards):
    return study.config["surrogates"][wildcards.surrogate]


def surrogate_network(wildcards):
    return study.config["networks"][surrogate_settings(wildcards)["network"]]


def debias_settings(wildcards):
    return study.config["debias"][wildcards.debias]


def pool_settings(wildcards):
    return study.config["models"][wildcards.models]


def pool_network(wildcards):
    return study.config["networks"][pool_settings(wildcards)["network"]]


def pool_debias(wildcards):
    return None if pool_settings(wildcards)["domain"] else debias_settings(wildcards)


def member(wildcards):
    return int(wildcards.member)


def distiller_settings(wildcards):
    return study.distiller(wildcards)


def distiller_network(wildcards):
    name = distiller_settings(wildcards).get("network")
    return study.config["networks"][name] if name else None


def evaluation_settings(wildcards):
    return study.config["evaluations"][wildcards.evaluation]


def attribute_settings(wildcards):
    """Return what the attribute classifier depends on: another number of draws trains no other one."""
    return {key: evaluation_settings(wildcards)[key] for key in ("steps", "batch_size", "learning_rate")}


def whole_steps(wildcards):
    """Return the optimiser steps on a whole training set; None for other sets, which have epochs."""
    settings = distiller_settings(wildcards)
    if settings["kind"] != "whole":
        return None
    return settings["steps"] or evaluation_settings(wildcards)["whole_steps"]


def evaluation_network(wildcards):
    return study.config["networks"][evaluation_settings(wildcards)["network"]]


def table_settings(wildcards):
    return study.config["tables"][wildcards.table]


def table_rows(wildcards):
    return study.table_rows(wildcards.table)


def table_spread(wildcards):
    return table_settings(wildcards)["spread"]


def table_caption(wildcards):
    return table_settings(wildcards)["caption"]


def figure_settings(wildcards):
    settings = study.config["figures"][wildcards.figure]
    if plugins.find("figure", settings["kind"]).facts.get("kernels"):
        return settings | {"kernels": study.kernels(settings["debias"])}
    if "compare" in settings:
        return settings | {"rows": study.figure_rows(wildcards.figure)}
    return settings


def figure_kind(wildcards):
    return figure_settings(wildcards)["kind"]


def figure_caption(wildcards):
    return figure_settings(wildcards)["caption"]
