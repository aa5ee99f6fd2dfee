"""The plan of a study, and one readable line for everything in it that cannot be done."""

import copy

import numpy as np
import pyarrow as pa
import pytest
import yaml
from ddbias.base.cell import Cell, ratio_text
from ddbias.datasets import sources
from ddbias.planning.config import ConfigErrors
from ddbias.planning.load import load
from ddbias.planning.sizes import smallest_class
from ddbias.planning.study import needed_cells
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

SETTINGS = yaml.safe_load("""
study: mine
datasets:
  digits_fg: { source: digits, bias: foreground }
  mnist_own: { source: mnist, bias: none, test: natural }
networks:
  small: convnet
surrogates:
  supcon: { kind: supcon, network: small }
debias:
  uniform: uniform
  kde: { kind: kde, surrogate: supcon, variance: 0.01 }
distillers:
  dm: { kind: dm, network: small }
  whole: whole
evaluations:
  convnet: { network: small }
grid:
  - { dataset: digits_fg, ratios: [0.95, 0.1], distillers: [dm], debias: [uniform, kde], ipc: [1, 10], seeds: [0, 1],
      evaluations: [convnet] }
  - { dataset: digits_fg, ratios: [0.95], distillers: [whole], debias: [uniform], ipc: [all], seeds: [0],
      evaluations: [convnet] }
tables:
  main:
    metrics: [accuracy, unbiased_accuracy]
    cells:
      - { dataset: digits_fg, ratios: [0.95], distillers: [dm], debias: [uniform, kde], ipc: [10],
          evaluations: [convnet] }
    published:
      - cell:
          dataset: digits_fg
          ratio: 0.95
          distiller: dm
          debias: kde
          ipc: 10
          evaluation: convnet
          metric: accuracy
        value: { source: s, table: t, dataset: d, setting: x, method: m, ipc: 10, metric: accuracy }
figures:
  accuracy: { kind: accuracy, dataset: digits_fg, evaluation: convnet, ipc: 10 }
  weights: { kind: weights, dataset: digits_fg, debias: kde, seed: 1 }
""")


def changed(**changes):
    """Return the study with values set at paths whose dots are written as two underscores."""
    config = copy.deepcopy(SETTINGS)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split("__")]
        here = config
        for part in parents:
            here = here[part]
        here[last] = value
    return config


def mistakes(**changes):
    with pytest.raises(ConfigErrors) as caught:
        load(changed(**changes))
    assert all("\n" not in line for line in caught.value.lines)
    return caught.value.lines


def test_a_table_waits_for_all_that_its_metrics_are_made_of():
    settings = copy.deepcopy(SETTINGS)
    settings["grid"][1]["ratios"] = [0.95, 0.1]
    settings["tables"]["main"] |= {"metrics": ["unbiased_amplification"], "published": []}
    settings["tables"]["main"]["compare"] = {"whole": "whole", "unbiased": 0.1}
    rows = load(settings).table_rows("main")
    cells = needed_cells(rows)
    assert {(ratio, distiller, debias) for _, ratio, distiller, debias, *_ in cells} == {
        ("0.95", "dm", "uniform"), ("0.95", "dm", "kde"), ("0.1", "dm", "uniform"),
        ("0.95", "whole", "uniform"), ("0.1", "whole", "uniform"),
    }  # fmt: skip


def split_study(**compare):
    """Return a study with random sets as well and a table of the split of an amplification."""
    config = copy.deepcopy(SETTINGS)
    config["distillers"]["random"] = "random"
    config["grid"][1] |= {"ratios": [0.95, 0.1], "seeds": [0, 1]}
    config["grid"].append({**config["grid"][0], "distillers": ["random"], "ipc": [10]})
    metrics = ["unbiased_size_amplification", "unbiased_distillation_amplification"]
    config["tables"]["main"] |= {"metrics": metrics, "published": [], "compare": {"unbiased": 0.1, **compare}}
    return config


def test_the_split_of_an_amplification_waits_for_random_sets_of_the_same_debias():
    rows = load(split_study(whole="whole", random="random")).table_rows("main")
    size, distillation = ({key[1:4] for key in needed_cells([row])} for row in rows if row["debias"] == "kde")
    random = {("0.95", "random", "kde"), ("0.1", "random", "uniform")}
    assert size == random | {("0.95", "whole", "uniform"), ("0.1", "whole", "uniform")}
    assert distillation == random | {("0.95", "dm", "kde"), ("0.1", "dm", "uniform")}


def test_what_others_are_compared_with_has_no_amplification():
    config = split_study(whole="whole", random="random")
    config["tables"]["main"] |= {"cells": [], "metrics": ["accuracy", "unbiased_size_amplification"]}
    config["grid"][0]["ipc"] = [10]
    rows = load(config).table_rows("main")
    assert len([row for row in rows if row["metric"] == "accuracy"]) == 4 + 2 + 4
    found = {(row["distiller"], row["ratio"]) for row in rows if row["metric"] != "accuracy"}
    assert found == {("dm", "0.95")}


def test_what_the_split_lacks_is_one_line_each():
    def lines(config):
        with pytest.raises(ConfigErrors) as caught:
            load(config)
        return caught.value.lines

    assert lines(split_study(whole="whole")) == [
        f"tables.main.compare.random: is missing, and the metric unbiased_{part}_amplification needs it"
        for part in ("size", "distillation")
    ]
    config = split_study(whole="whole", random="random")
    config["grid"][2]["debias"] = ["uniform"]
    (line,) = lines(config)
    assert line.startswith(
        "tables.main.compare: needs dataset=digits_fg ratio=0.95 distiller=random debias=kde ipc=10 evaluation=convnet"
        ", which the grid does not make. Nearest: "
    )
    config = split_study(whole="whole", random="random")
    config["grid"][1]["seeds"] = [2]
    assert lines(config) == [
        "tables.main.compare: unbiased_size_amplification pairs its cells by seed, and they have none in common "
        "(random 0, 1; whole 2; random_unbiased 0, 1; whole_unbiased 2)"
    ]


def test_differences_are_to_the_row_that_differs_in_the_debias_alone():
    config = changed(tables__main={"metrics": ["accuracy"], "against": "kde"})
    rows = load(config).table_rows("main")
    for row in rows:
        if row["debias"] == "uniform" and row["distiller"] == "dm":
            assert {key for key in row if row[key] != row["against"].get(key)} == {"debias", "against"}
            assert row["against"]["debias"] == "kde"
        else:
            assert "against" not in row  # kde itself, and the whole set, which is there with one debias only
    shown = next(row for row in rows if "against" in row)
    assert {key[3] for key in needed_cells([shown])} == {"uniform", "kde"}


def test_cells_are_the_product_of_each_entry():
    study = load(SETTINGS)
    assert len(study.cells) == 2 * 2 * 2 * 2 + 1
    assert study.cells[0] == Cell("digits_fg", "0.95", "dm", "uniform", "1", "0", "convnet")
    assert study.cells[-1] == Cell("digits_fg", "0.95", "whole", "uniform", "all", "0", "convnet")
    assert study.values("ipc") == ["1", "10", "all"]
    assert len(study.select(debias="kde", seed=0, ratio="0.1")) == 2


def test_overlapping_entries_make_a_cell_once():
    twice = changed(grid=[SETTINGS["grid"][0], SETTINGS["grid"][0]], figures={})
    assert len(load(twice).cells) == 16


def test_lists_of_published_numbers_stand_for_their_product():
    """As if each were written by hand."""
    long = changed(
        tables__main__published=[
            {
                "cell": {
                    "dataset": "digits_fg", "ratio": 0.95, "distiller": "dm", "debias": debias, "ipc": 10,
                    "evaluation": "convnet", "metric": metric,
                },
                "value": {
                    "source": "s", "table": table, "dataset": "d", "setting": "x", "method": method, "ipc": 10,
                    "metric": "acc",
                },
            }
            for debias, method in (("uniform", "DM"), ("kde", "DM+KDE"))
            for metric, table in (("accuracy", "T1"), ("unbiased_accuracy", "T2"))
        ]
    )  # fmt: skip
    short = changed(
        tables__main__published__0__cell__debias=["uniform", "kde"],
        tables__main__published__0__cell__metric=["accuracy", "unbiased_accuracy"],
        tables__main__published__0__value={
            "source": "s", "dataset": "d", "setting": "x", "metric": "acc",
            "table": {"metric": {"accuracy": "T1", "unbiased_accuracy": "T2"}},
            "method": {"debias": {"uniform": "DM", "kde": "DM+KDE"}},
        },
    )  # fmt: skip

    def told(config):
        rows = load(config).table_rows("main")
        return [{**row, "published": {key: str(value) for key, value in row["published"].items()}} for row in rows]

    assert told(short) == told(long)
    assert all(row["published"] for row in told(long))


def test_rows_of_a_table_have_their_published_value():
    rows = load(SETTINGS).table_rows("main")
    assert [(row["debias"], row["metric"]) for row in rows] == [
        ("uniform", "accuracy"),
        ("uniform", "unbiased_accuracy"),
        ("kde", "accuracy"),
        ("kde", "unbiased_accuracy"),
    ]
    assert [row["published"] is None for row in rows] == [True, True, False, True]


def test_a_table_without_cells_shows_the_grid():
    config = changed(tables__main={"metrics": ["accuracy"]})
    assert len(load(config).table_rows("main")) == 2 * 2 * 2 + 1


def test_a_metric_has_rows_for_the_evaluations_that_measure_it():
    config = changed(
        evaluations__look={"kind": "images", "network": "small", "surrogate": "supcon"},
        grid__0__evaluations=["convnet", "look"],
        tables__main__metrics=["accuracy", "coverage"],
        tables__main__cells__0__evaluations=["convnet", "look"],
        tables__main__cells__0__debias=["kde"],
    )
    rows = load(config).table_rows("main")
    assert [(row["evaluation"], row["metric"]) for row in rows] == [("convnet", "accuracy"), ("look", "coverage")]


LOOK = {"kind": "images", "network": "small"}
POOL = {"experts": {"kind": "experts", "network": "small"}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"grid__0__dataset": "digts_fg"},
         "grid[0].dataset = 'digts_fg': not defined under datasets; defined: digits_fg, mnist_own. Did you mean "
         "'digits_fg'?"),
        ({"grid__0__distillers": ["dn"]},
         "grid[0].distillers[0] = 'dn': not defined under distillers; defined: dm, whole. Did you mean 'dm'?"),
        ({"grid__0__debias": ["uniform", "kde", "kd"]},
         "grid[0].debias[2] = 'kd': not defined under debias; defined: uniform, kde. Did you mean 'kde'?"),
        ({"grid__1__evaluations": ["resnet"]},
         "grid[1].evaluations[0] = 'resnet': not defined under evaluations; defined: convnet."),
        ({"evaluations__convnet__network": "smal"},
         "evaluations.convnet.network = 'smal': not defined under networks; defined: small. Did you mean 'small'?"),
        ({"evaluations__look": {**LOOK, "network": "smal"}},
         "evaluations.look.network = 'smal': not defined under networks; defined: small. Did you mean 'small'?"),
        ({"evaluations__look": {**LOOK, "surrogate": "supcn"}},
         "evaluations.look.surrogate = 'supcn': not defined under surrogates; defined: supcon. Did you mean 'supcon'?"),
        ({"tables__main__metrics": ["accuracy", "coverage"]},
         "tables.main.metrics[1] = 'coverage': not measured by convnet, needs an evaluation of kind images; defined: "
         "none"),
        ({"evaluations__look": LOOK, "figures__accuracy__metric": "aligned_share"},
         "figures.accuracy.metric = 'aligned_share': not measured by convnet, needs an evaluation of kind images; "
         "defined: look"),
        (
            {
                "evaluations__look": LOOK,
                "grid__0__evaluations": ["convnet", "look"],
                "figures__accuracy__evaluation": "look",
            },
            "figures.accuracy.metric = 'unbiased_accuracy': not measured by look, needs an evaluation of kind "
            "training; defined: convnet",
        ),
        ({"distillers__dm__network": "big"},
         "distillers.dm.network = 'big': not defined under networks; defined: small."),
        ({"models": POOL, "distillers__mtt": {"kind": "mtt", "models": "expert"}},
         "distillers.mtt.models = 'expert': not defined under models; defined: experts. Did you mean 'experts'?"),
        ({"models": POOL, "distillers__dm__guidance": {"kind": "clom", "models": ["expert"]}},
         "distillers.dm.guidance.models[0] = 'expert': not defined under models; defined: experts. Did you mean "
         "'experts'?"),
        ({"surrogates__supcon__network": "big"},
         "surrogates.supcon.network = 'big': not defined under networks; defined: small."),
        ({"debias__kde__surrogate": "supcn"},
         "debias.kde.surrogate = 'supcn': not defined under surrogates; defined: supcon. Did you mean 'supcon'?"),
        ({"debias__kde": {"kind": "fairdd", "groups": "clusters"}, "figures": {}},
         "debias.kde.groups = clusters: needs a surrogate; defined: supcon"),
        ({"debias__kde": {"kind": "cobra", "surrogate": "supcon"}},
         "debias.kde.surrogate = 'supcon': not used with groups: attribute; leave it out or choose other groups"),
        ({"debias__kde": {"kind": "group_balanced", "groups": "predicted", "surrogate": "supcon"}},
         "debias.kde.surrogate = 'supcon': groups: predicted needs one of kind cross_entropy or cross_fitted or "
         "generalised_ce or lff, not supcon"),
        ({"debias__kde": {"kind": "dpr", "surrogate": "supcon"}},
         "debias.kde.surrogate = 'supcon': dpr needs one of kind cross_entropy or cross_fitted or generalised_ce or "
         "lff, not supcon"),
        ({"debias__kde": {"kind": "dpr", "surrogate": "supcon", "temperature": 0}},
         "debias.kde.temperature = 0: must be above 0"),
        ({"debias__kde": {"kind": "spare", "surrogate": "supcon", "max_clusters": 1}},
         "debias.kde.max_clusters = 1: must be at least 2"),
        ({"debias__kde": {"kind": "fairdd", "clusters": 3}, "figures": {}},
         "debias.kde.clusters = 3: only used with groups: clusters"),
        ({"debias__kde": {"kind": "fairdd", "known": 0.1}, "figures": {}},
         "debias.kde.known = 0.1: only used with groups: clusters or dbscan or predicted"),
        ({"debias__kde": {"kind": "cobra", "groups": "clusters", "surrogate": "supcon", "known": 1.5}},
         "debias.kde.known = 1.5: must be at most 1"),
        ({"debias__kde": {"kind": "cobra", "groups": "dbscan"}, "figures": {}},
         "debias.kde.groups = dbscan: needs a surrogate; defined: supcon"),
        ({"debias__kde": {"kind": "cobra", "groups": "clusters", "surrogate": "supcon", "eps": 0.2}},
         "debias.kde.eps = 0.2: only used with groups: dbscan"),
        ({"debias__kde": {"kind": "cobra", "groups": "dbscan", "surrogate": "supcon", "eps": 2.5}},
         "debias.kde.eps = 2.5: must be at most 2"),
        (
            {
                "tables__main__metrics": ["accuracy", "conflicting_amplification"],
                "tables__main__compare": {"whole": "whole"},
            },
            "tables.main.compare.unbiased: is missing, and the metric conflicting_amplification needs it",
        ),
        (
            {
                "tables__main__metrics": ["accuracy", "conflicting_amplification"],
                "tables__main__compare": {"whole": "whole", "unbiased": 0.1},
            },
            "tables.main.compare: needs dataset=digits_fg ratio=0.1 distiller=whole debias=uniform ipc=all "
            "evaluation=convnet, which the grid does not make. Nearest: dataset=digits_fg ratio=0.95 distiller=whole "
            "debias=uniform ipc=all evaluation=convnet",
        ),
        ({"tables__main__against": "kd"},
         "tables.main.against = 'kd': not defined under debias; defined: uniform, kde. Did you mean 'kde'?"),
        ({"grid__0__debias": ["uniform"], "tables__main": {"against": "kde"}, "figures": {}},
         "tables.main.against = 'kde': the grid makes no row of the table with this debias and with another one"),
        ({"evaluations__convnet": {"network": "small", "cutmix": 0.5, "debiasing": "lff"}},
         "evaluations.convnet.cutmix = 0.5: debiasing lff has a loss of its own; choose one of them"),
        ({"evaluations__convnet": {"network": "small", "augment_rule": "dc", "augment": "color_crop"}},
         "evaluations.convnet.augment = color_crop: the rule dc has crop, scale, rotate only, not color"),
        ({"evaluations__convnet": {"network": "small", "augment_rule": "idc"}},
         "evaluations.convnet.augment_rule = idc: augment is none; name its pieces, or leave the rule out"),
        ({"debias__kde": {"kind": "lff_weights", "surrogate": "supcon"}},
         "debias.kde.surrogate = 'supcon': lff_weights needs one of kind lff, not supcon"),
        ({"debias__kde": {"kind": "loss_weighted", "surrogate": "supcon"}},
         "debias.kde.surrogate = 'supcon': loss_weighted needs one of kind cross_entropy or cross_fitted or "
         "generalised_ce or lff, not supcon"),
        ({"debias__kde": {"kind": "loss_weighted", "surrogate": "supcn"}},
         "debias.kde.surrogate = 'supcn': not defined under surrogates; defined: supcon. Did you mean 'supcon'?"),
        ({"tables__main__cells__0__distillers": ["dmm"], "tables__main__published": []},
         "tables.main.cells[0].distillers[0] = 'dmm': not defined under distillers; defined: dm, whole. Did you mean "
         "'dm'?"),
        ({"figures__accuracy__evaluation": "covnet"},
         "figures.accuracy.evaluation = 'covnet': not defined under evaluations; defined: convnet. Did you mean "
         "'convnet'?"),
        ({"grid__0__ratios": [0.95, 0.1, "natural"]},
         "grid[0].ratios[2] = natural: must be a number, since a bias is injected in digits_fg"),
        ({"grid__1__dataset": "mnist_own"},
         "grid[1].ratios[0] = 0.95: must be 'natural', since its bias is none in mnist_own"),
        ({"datasets__digits_fg__source": {"kind": "parquet", "train": "train{v2}.parquet", "test": "b"}},
         "datasets.digits_fg.source.train = train{v2}.parquet: Snakemake reads braces as a wildcard; rename it"),
        ({"distillers__dm": {"kind": "external", "file": "set{v2}_{ratio}.pt", "normalise": "none"},
          "grid__0__debias": ["uniform"], "tables__main__cells": [], "tables__main__published": []},
         "distillers.dm.file = set{v2}_{ratio}.pt: Snakemake reads braces as a wildcard; rename it"),
        ({"grid__0__ipc": [1, 10, "all"]},
         "grid[0].ipc[2] = all: the distiller dm takes a number; give it its own entry"),
        ({"grid__1__ipc": [5]}, "grid[1].ipc[0] = 5: the distiller whole takes only all; give it its own entry"),
        ({"grid__0__ipc": [10, 117]}, "grid[0].ipc[1] = 117: must be at most 116, the smallest class of digits_fg"),
        ({"tables__main__cells__0__ipc": [10, 50]},
         "tables.main: asks for dataset=digits_fg ratio=0.95 distiller=dm debias=uniform ipc=50 evaluation=convnet, "
         "which the grid does not make. Nearest: dataset=digits_fg ratio=0.95 distiller=dm debias=uniform ipc=10 "
         "evaluation=convnet"),
        ({"tables__main__published__0__cell__ipc": 1},
         "tables.main.published[0].cell: dataset=digits_fg ratio=0.95 distiller=dm debias=kde ipc=1 "
         "evaluation=convnet is not a row of the table. Nearest: dataset=digits_fg ratio=0.95 distiller=dm "
         "debias=kde ipc=10 evaluation=convnet"),
        ({"tables__main__published__0__cell__metric": "deo_max"},
         "tables.main.published[0].cell.metric = 'deo_max': must be one of the table's: accuracy, unbiased_accuracy"),
        ({"tables__main__published__0__value__method": {"debias": {"uniform": "DM"}}},
         "tables.main.published[0].value.method: has no value for debias = kde of the cell; add one"),
        ({"figures__accuracy__ipc": 100},
         "figures.accuracy.ipc = 100: not in the grid; there: 1, 10, all. Did you mean '10'?"),
        ({"figures__weights__seed": 7}, "figures.weights.seed = 7: not in the grid; there: 0, 1."),
        ({"figures__weights__debias": "uniform"},
         "figures.weights.debias = 'uniform': has no weights file; those that have one: kde"),
        ({"figures": {"images": {"kind": "images", "dataset": "digits_fg", "ratio": 0.1, "ipc": "all", "seed": 0}}},
         "figures.images: no cell of the grid has dataset=digits_fg ratio=0.1 ipc=all seed=0 together"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(changes, said):
    lines = mistakes(**changes)
    assert lines[0] == said
    if "ipc" not in said or "cells" in said:
        assert len(lines) <= 2  # two debias ask for the missing cell


SEPARATION = {"kind": "surrogate", "dataset": "digits_fg", "surrogates": ["supcon"], "seed": 1}
EMBEDDING = {"kind": "embedding", "dataset": "digits_fg", "ratio": 0.10, "surrogate": "supcon", "seed": 0}
HEATMAP = {"kind": "heatmap", "dataset": "digits_fg", "distiller": "dm", "ipc": 10, "evaluation": "convnet"}
OTHERS = {
    "warm": {"kind": "kde", "surrogate": "supcon", "variance": 0.01, "temperature": 2},
    "same": {"kind": "kde", "surrogate": "supcon", "variance": 0.01},
    "cut": {"kind": "kde", "surrogate": "supcon", "variance": 0.1, "clip": 0.1},
}


def with_figure(figure, *, measured=True, **debias):
    surrogates = {
        name: {"kind": "supcon", "network": "small", "early_stopping": measured} for name in ("supcon", "spare")
    }
    config = changed(surrogates=surrogates, figures={"new": figure})
    config["debias"] |= debias
    config["grid"][0]["debias"] += list(debias)
    return config


def test_figures_of_surrogates_and_of_kernels_can_be_planned():
    for figure in (SEPARATION, EMBEDDING):
        load(with_figure(figure))
    study = load(with_figure({**HEATMAP, "debias": ["kde", "warm"]}, warm=OTHERS["warm"]))
    assert study.kernels(["kde", "warm"]) == {"kde": [0.01, 1], "warm": [0.01, 2]}


def test_figures_against_an_axis_name_their_cells():
    figure = {"kind": "against_ratio", "dataset": "digits_fg", "evaluation": "convnet", "ipc": 10}
    found = load(with_figure(figure)).figure_rows("new")
    assert {(row["ratio"], row["debias"], row["ipc"]) for row in found} == {
        *((ratio, debias, "10") for ratio in ("0.95", "0.1") for debias in ("uniform", "kde")),
        ("0.95", "uniform", "all"),
    }
    assert {row["metric"] for row in found} == {"unbiased_accuracy"}
    config = with_figure({**figure, "metric": "unbiased_amplification", "compare": {"whole": "whole", "unbiased": 0.1}})
    config["grid"][1]["ratios"].append(0.1)
    config["grid"].append({**config["grid"][0], "ratios": [0.95], "ipc": [10], "distillers": ["dc"]})
    config["distillers"]["dc"] = {"kind": "dc", "network": "small"}
    found = load(config).figure_rows("new")
    assert {(row["ipc"], row["distiller"]) for row in found} == {("10", "dm")}  # dc has no unbiased reference
    assert all(row["terms"]["whole"]["ratio"] == row["ratio"] for row in found)


def test_the_figure_of_the_split_shows_what_the_grid_makes_all_of():
    figure = {"kind": "amplification", "dataset": "digits_fg", "evaluation": "convnet", "ratio": 0.95}
    config = split_study() | {"tables": {}}
    compare = {"whole": "whole", "random": "random", "unbiased": 0.1}
    config["figures"] = {"new": {**figure, "compare": compare, "metric": "conflicting_amplification"}}
    found = load(config).figure_rows("new")
    assert [(row["distiller"], row["debias"], row["ipc"], row["metric"]) for row in found] == [
        ("dm", debias, "10", f"conflicting_{part}_amplification")
        for debias in ("uniform", "kde")
        for part in ("size", "distillation")
    ]
    config["figures"]["new"]["compare"] = {"whole": "whole", "unbiased": 0.1}
    with pytest.raises(ConfigErrors, match=r"figures\.new\.compare\.random: is missing.* conflicting_size"):
        load(config)


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ({"kind": "against_ratio", "dataset": "digits_fg", "evaluation": "convnet", "ipc": 50},
         "figures.new.ipc = 50: not in the grid; there: 1, 10, all. Did you mean '10'?"),
        (
            {
                "kind": "against_ipc",
                "dataset": "digits_fg",
                "evaluation": "convnet",
                "ratio": 0.95,
                "metric": "worst_group_amplification",
                "compare": {"whole": "whole"},
            },
            "figures.new.compare.unbiased: is missing, and the metric worst_group_amplification needs it",
        ),
        ({**SEPARATION, "surrogates": ["supcon", "supcn"]},
         "figures.new.surrogates[1] = 'supcn': not defined under surrogates; defined: supcon, spare. Did you mean "
         "'supcon'?"),
        ({**SEPARATION, "surrogates": ["supcon", "spare"]},
         "figures.new.surrogates[1] = 'spare': no debias of these cells uses it; used there: supcon"),
        ({**SEPARATION, "seed": 9}, "figures.new.seed = 9: not in the grid; there: 0, 1."),
        ({**EMBEDDING, "surrogate": "spare"},
         "figures.new.surrogate = 'spare': no debias of these cells uses it; used there: supcon"),
        ({**EMBEDDING, "surrogate": "other"},
         "figures.new.surrogate = 'other': not defined under surrogates; defined: supcon, spare."),
        ({**EMBEDDING, "ratio": 0.5},
         "figures.new.ratio = 0.5: not in the grid; there: 0.95, 0.1. Did you mean '0.95'?"),
        ({**HEATMAP, "debias": ["kde", "uniform"]},
         "figures.new.debias[1] = 'uniform': has no variance and temperature; those that have them: kde, warm, same, "
         "cut"),
        ({**HEATMAP, "debias": ["kde", "same"]},
         "figures.new.debias[1] = 'same': has the variance and temperature of 'kde'"),
        ({**HEATMAP, "debias": ["kde", "warm", "cut"]},
         "figures.new.debias[2] = 'cut': differs from 'kde' in clip, too; a heatmap shows variance and temperature"),
        ({**HEATMAP, "debias": ["kde", "warn"]},
         "figures.new.debias[1] = 'warn': not defined under debias; defined: uniform, kde, warm, same, cut. Did you "
         "mean 'warm'?"),
        ({**HEATMAP, "distiller": "whole", "debias": ["kde"]},
         "figures.new: no cell of the grid has dataset=digits_fg distiller=whole ipc=10 evaluation=convnet "
         "debias=kde together"),
    ],
)  # fmt: skip
def test_a_figure_that_cannot_be_drawn_is_one_line(figure, said):
    with pytest.raises(ConfigErrors) as caught:
        load(with_figure(figure, **OTHERS))
    assert caught.value.lines == [said]


def test_a_surrogate_that_measures_nothing_has_no_curves():
    with pytest.raises(ConfigErrors) as caught:
        load(with_figure(SEPARATION, measured=False))
    assert caught.value.lines == [
        "figures.new.surrogates[0] = 'supcon': has no measurements over its steps; "
        "set surrogates.supcon.early_stopping to true"
    ]


def test_cells_are_selected_by_a_ratio_written_in_another_way():
    study = load(SETTINGS)
    assert study.select(ratio=0.950) == study.select(ratio="0.95") != []


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ("uniform", False),
        ("group_balanced", False),
        ({"kind": "cobra", "surrogate": None}, False),
        ({"kind": "fairdd", "groups": "clusters", "surrogate": "supcon", "clusters": 2}, True),
        ({"kind": "group_balanced", "groups": "predicted", "surrogate": "gce"}, True),
        ({"kind": "cobra", "groups": "predicted", "surrogate": "gce", "known": 0.1}, True),
        ({"kind": "fairdd", "groups": "dbscan", "surrogate": "supcon", "eps": 0.2, "min_samples": 4}, True),
        ({"kind": "loss_weighted", "surrogate": "gce"}, True),
        ({"kind": "dpr", "surrogate": "gce", "temperature": 2}, True),
        ({"kind": "spare", "surrogate": "gce", "clusters": 4, "power": 1}, True),
        ({"kind": "kde", "surrogate": "supcon"}, True),
    ],
)
def test_a_surrogate_is_needed_where_one_is_named(settings, needed):
    surrogates = {**SETTINGS["surrogates"], "gce": {"kind": "generalised_ce", "network": "small"}}
    study = load(changed(debias__kde=settings, surrogates=surrogates, figures={}))
    assert study.needs_surrogate("kde") == needed


def test_a_folder_may_have_braces_in_its_name(tmp_path, monkeypatch):
    """Snakemake sees none of them."""
    monkeypatch.chdir(tmp_path)
    study = changed(datasets__digits_fg__source={"kind": "image_folder", "train": "a{v2}", "test": "b"})
    (tmp_path / "a{v2}").mkdir()
    load(study)
    (tmp_path / "a{v2}").rmdir()
    with pytest.raises(ConfigErrors, match="Snakemake reads braces as a wildcard"):
        load(study)


def test_several_mistakes_are_one_line_each():
    lines = mistakes(grid__0__dataset="digit", grid__1__debias=["unifrm"])
    assert [line.split(" ")[0] for line in lines] == ["grid[0].dataset", "grid[1].debias[0]"]


def test_a_figure_may_select_by_a_ratio_written_in_another_way():
    settings = {"kind": "images", "dataset": "digits_fg", "ratio": 0.950, "ipc": 10, "seed": 0}
    load(changed(figures={"images": settings}))


def test_a_study_keeps_its_input():
    before = copy.deepcopy(SETTINGS)
    load(SETTINGS).config["grid"].clear()
    assert before == SETTINGS


@pytest.mark.parametrize(("bias", "test"), [("foreground", "balanced"), ("none", "natural"), ("subsample", "natural")])
def test_a_test_split_of_real_attributes_keeps_every_image_by_default(bias, test):
    dataset = {"source": "digits", "bias": bias}
    assert load(changed(datasets__own=dataset)).config["datasets"]["own"]["test"] == test


# ---- ratios -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0.95, "0.95"), (1, "1"), (1.0, "1"), (0, "0"), (0.10, "0.1"), (1e-5, "0.00001"), ("natural", "natural")],
)
def test_ratio_text(ratio, text):
    assert ratio_text(ratio) == text


@given(st.floats(0, 1))
def test_ratio_text_is_a_wildcard_and_exact(ratio):
    text = ratio_text(ratio)
    assert set(text) <= set("0123456789.")
    assert float(text) == ratio


# ---- images per class -------------------------------------------------------------------------------------------


def test_smallest_class_of_the_digits_is_counted():
    labels = sources.load({"kind": "digits"}, data={})["train"].labels
    assert smallest_class({"kind": "digits"}, {}) == np.bincount(labels).min()


@pytest.mark.parametrize("kind", ["mnist", "fashion_mnist"])
def test_smallest_class_of_real_data_is_counted(kind, data_home, tmp_path):
    data = {"root": str(tmp_path), "mirrors": [str(data_home)]}
    assert (
        smallest_class({"kind": kind}, {}) == np.bincount(sources.load({"kind": kind}, data=data)["train"].labels).min()
    )


def test_the_smallest_class_of_other_sources_is_not_known():
    assert smallest_class({"kind": "celeba"}, {}) is None


@pytest.mark.parametrize("labels", [[0, 1, 1, 0, 1], ["cat", "dog", "dog", "cat", "dog"]])
def test_smallest_class_of_a_parquet_file_is_read_from_its_labels(labels, tmp_path, monkeypatch):
    (tmp_path / "mirror").mkdir()
    parquet.write_table(pa.table({"y": labels, "image": [b"no image"] * 5}), tmp_path / "mirror/train.parquet")
    source = {"kind": "parquet", "train": "train.parquet", "test": "test.parquet", "label": "y"}
    monkeypatch.chdir(tmp_path)
    assert smallest_class(source, {"root": "data", "mirrors": ["mirror"]}) == 2
    dataset = {"source": source, "bias": "foreground"}
    (line,) = mistakes(datasets__digits_fg=dataset, data={"mirrors": ["mirror"]}, grid__0__ipc=[1, 2, 10])
    assert line == "grid[0].ipc[2] = 10: must be at most 2, the smallest class of digits_fg"


@pytest.mark.parametrize("content", [None, b"", b"not parquet"])
def test_a_missing_or_damaged_file_is_left_to_the_job_that_reads_it(content, tmp_path):
    path = tmp_path / "train.parquet"
    if content is not None:
        path.write_bytes(content)
    assert smallest_class({"kind": "parquet", "train": str(path), "label": "label"}, {}) is None


def test_a_file_without_the_label_column_is_left_to_the_job_that_reads_it(tmp_path):
    parquet.write_table(pa.table({"y": [1]}), tmp_path / "train.parquet")
    source = {"kind": "parquet", "train": str(tmp_path / "train.parquet"), "label": "label"}
    assert smallest_class(source, {}) is None
