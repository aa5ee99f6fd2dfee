import csv
import html
import html.parser
import itertools
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ddbias.base import escape
from ddbias.base.cell import shortest
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.evaluation import protocol
from ddbias.evaluation.metrics import METRICS
from ddbias.results.tables.formats import CSV_COLUMNS, fixed
from ddbias.results.tables.pool import by_cell, summarise
from ddbias.results.tables.published import read_published, select_published
from ddbias.results.tables.read import read_evaluations
from ddbias.results.tables.tabulate import tabulate
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

PUBLISHED = Path(__file__).parents[3] / "workflow" / "resources" / "published_results.csv"
KDE_NUMBER = {"source": "Cui et al. arXiv 2406.06609 (abstract)", "table": "Abstract", "dataset": "CMNIST"}
KDE_NUMBER |= {"setting": "conflict ratio 5%", "method": "DM+KDE reweighting", "ipc": 50, "metric": "accuracy"}


def evaluation(path, values, *, seed=0, convention="balanced", distillation=None, **cell):
    """Write an evaluation file; `values` maps a metric to one value per network."""
    cell = {
        "study": "digits",
        "scale": "quick",
        "dataset": "digits",
        "ratio": "0.95",
        "distiller": "dm",
        "debias": "kde",
        "ipc": "10",
        "evaluation": "convnet",
        **cell,
    }
    rows = [(repeat, metric, v) for metric, vs in values.items() for repeat, v in enumerate(vs)]
    columns = {name: [value] * len(rows) for name, value in cell.items()}
    columns |= {"seed": [seed] * len(rows), "repeat": [r for r, _, _ in rows], "metric": [m for _, m, _ in rows]}
    columns |= {"value": [float(v) for *_, v in rows], "support": [360] * len(rows)}
    meta = {"convention": convention, "counts": []} | ({"distillation": distillation} if distillation else {})
    store.write_table(path, columns, meta)
    return path


def row(published=None, **changes):
    base = {"dataset": "digits", "ratio": 0.95, "distiller": "dm", "debias": "kde", "ipc": 10}
    return {**base, "evaluation": "convnet", "metric": "unbiased_accuracy", "published": published, **changes}


def make(folder, evaluations, rows, *, commit="abc123", caption="A table", **options):
    outputs = {form: folder / f"main.{form}" for form in ("csv", "md", "tex", "html")}
    tabulate(
        evaluations=evaluations,
        rows=rows,
        published=PUBLISHED,
        scale="quick",
        commit=commit,
        outputs=outputs,
        caption=caption,
        **options,
    )
    return {form: path.read_text() for form, path in outputs.items()}


def lines(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def three_seeds(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 0.7, (3, 3))
    files = [
        evaluation(tmp_path / f"{seed}.parquet", {"unbiased_accuracy": values[seed]}, seed=seed) for seed in range(3)
    ]
    return files, [100 * v for v in values.reshape(-1)]


def test_csv_pools_networks_and_seeds_in_percent(tmp_path, three_seeds):
    files, percent = three_seeds
    text = make(tmp_path / "t", files, [row(KDE_NUMBER)])["csv"]
    assert text.splitlines()[0].split(",") == [
        *("dataset", "ratio", "distiller", "debias", "ipc", "evaluation", "metric"),
        *("mean", "std", "interval", "n", "networks", "published", "gap"),
        *("against", "difference", "difference_interval", "difference_n"),
        *("converged", "moved", "first_conflicting", "diverged", "scale"),
    ]
    (line,) = lines(text)
    mean = statistics.fmean(percent)
    expected = ["digits", "0.95", "dm", "kde", "10", "convnet", "unbiased_accuracy"]
    of_seeds = [statistics.fmean(percent[3 * seed : 3 * seed + 3]) for seed in range(3)]
    interval = 4.302653 * statistics.stdev(of_seeds) / 3**0.5  # Student's t for two degrees of freedom
    expected += [
        f"{mean:.2f}",
        f"{statistics.pstdev(percent):.2f}",
        f"{interval:.2f}",
        *("3", "3"),
        "91.50",
        f"{mean - 91.5:.2f}",
        *[""] * 7,
        *("0", "quick"),
    ]
    assert list(line.values()) == expected


def test_a_cell_without_runs_says_so_in_every_format(tmp_path, three_seeds):
    files, _ = three_seeds
    texts = make(tmp_path / "t", [*files, tmp_path / "later.parquet"], [row(), row(KDE_NUMBER, distiller="dc")])
    unfinished = lines(texts["csv"])[1]
    assert {k: unfinished[k] for k in ("mean", "std", "n", "published", "gap")} == {
        "mean": "", "std": "", "n": "0", "published": "91.50", "gap": "",
    }  # fmt: skip
    for form in ("md", "tex", "html"):
        assert texts[form].count("not run yet") == 1
        assert "3 of 4 evaluations" in texts[form]


def test_a_table_without_any_run_is_still_made(tmp_path):
    texts = make(tmp_path / "t", [tmp_path / "later.parquet"], [row()])
    assert lines(texts["csv"])[0]["n"] == "0"
    assert "not run yet" in texts["md"]


def test_a_metric_that_the_test_set_cannot_give_is_missing_not_zero(tmp_path):
    file = evaluation(tmp_path / "a.parquet", {"conflicting_accuracy": [0.4, 0.6]}, convention="anti")
    texts = make(tmp_path / "t", [file], [row(), row(metric="conflicting_accuracy")])
    first, second = lines(texts["csv"])
    assert (first["mean"], first["n"]) == ("", "0")
    assert (second["mean"], second["std"], second["n"], second["networks"]) == ("50.00", "10.00", "1", "2")
    assert "Not defined: unbiased accuracy" in texts["md"]
    assert "not run yet" not in texts["md"]
    assert "anti (conflicting samples only)" in texts["md"]


def networks(path, counts, *, pairing="identity", confidence=None, **cell):
    """Write the evaluation file of networks with counts (networks, A, K, K), as the stage does."""
    cell = row(**cell) | {"study": "digits", "scale": "quick", "seed": 0, "ratio": "0.95", "ipc": "10"}
    cell = {name: value for name, value in cell.items() if name not in ("metric", "published")}
    outcome = protocol.Outcome(np.asarray(counts), confidence or [np.ones((15, 3))] * len(counts))
    protocol.save(path, outcome, cell=cell, meta={"convention": "natural", "pairing": pairing})
    return path


FULL = np.full((2, 2, 2), 10)
EMPTY_GROUP = np.array([[[5, 5], [0, 0]], [[5, 5], [5, 5]]])
ONE_ATTRIBUTE = np.array([[[5, 5], [0, 0]], [[0, 0], [5, 5]]])


@pytest.mark.parametrize(
    ("counts", "pairing", "metric", "why"),
    [
        (FULL[:1], None, "unbiased_accuracy", "the attribute is not known, or all test images have the same one"),
        (FULL, None, "conflicting_accuracy", "no attribute is paired with a label (set pairs: of the bias)"),
        (FULL, None, "attribute_accuracy", "no attribute is paired with a label (set pairs: of the bias)"),
        (EMPTY_GROUP, "identity", "unbiased_accuracy", "the test set has no image of 1 of its 4 groups"),
        (EMPTY_GROUP, "identity", "deo_max", "the test images of a class have one attribute only"),
        (ONE_ATTRIBUTE, "identity", "conflicting_accuracy", "the test set has no conflicting image"),
        (ONE_ATTRIBUTE[::-1], "identity", "aligned_accuracy", "the test set has no aligned image"),
        (ONE_ATTRIBUTE, "identity", "attribute_information", "in the test set the label tells the attribute"),
        (ONE_ATTRIBUTE, "identity", "equalized_odds", "the test images of a class have one attribute only"),
    ],
)
def test_what_is_not_defined_says_the_true_reason(counts, pairing, metric, why, tmp_path):
    file = networks(tmp_path / "a.parquet", [counts], pairing=pairing)
    other = evaluation(tmp_path / "b.parquet", {metric: [0.5]}, distiller="dc")
    rows = [row(metric=metric), row(metric=metric, distiller="dc")]
    texts = make(tmp_path / "t", [file, other], rows)
    assert [line["mean"] for line in lines(texts["csv"])] == ["", "50.00"]
    for form in ("md", "html"):
        assert f"Not defined: {metric.replace('deo_', 'DEO ').replace('_', ' ')}: {why}" in texts[form]
    assert "| not defined |" in texts["md"]


def test_data_without_an_attribute_give_a_table_with_numbers(tmp_path):
    """As the default metrics show them: what cannot be defined has no column, and the notes say why."""
    schema = yaml.safe_load((PUBLISHED.parents[1] / "schemas" / "config.schema.yaml").read_text())
    metrics = schema["properties"]["tables"]["additionalProperties"]["properties"]["metrics"]["default"]
    file = networks(tmp_path / "a.parquet", [[[[9, 1], [2, 8]]]], pairing=None)
    texts = make(tmp_path / "t", [file], [row(metric=metric) for metric in metrics])
    table = [line for line in texts["md"].splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in table[0].split("|")[-3:-1]] == ["accuracy", "n"]
    assert [cell.strip() for cell in table[2].split("|")[-3:-1]] == ["85.0", "1 seed"]
    assert (
        "Not defined: unbiased accuracy, conflicting accuracy, worst group accuracy: the attribute is not known, "
        "or all test images have the same one." in texts["md"]
    )
    assert [line["mean"] for line in lines(texts["csv"])] == ["85.00", "", "", ""]


def test_a_network_that_diverged_is_marked(tmp_path):
    """It has no confidence that is a number, and its accuracy is that of a single answer."""
    guess = np.zeros((2, 2, 2), int)
    guess[:, :, 0] = 10
    files = [
        networks(tmp_path / "a.parquet", [FULL, guess], confidence=[np.ones((15, 3)), None]),
        networks(tmp_path / "b.parquet", [guess, guess], confidence=[None, None], distiller="dc"),
        networks(tmp_path / "c.parquet", [FULL, FULL], distiller="mtt"),
    ]
    asked = itertools.product(("dm", "dc", "mtt"), ("accuracy", "calibration_error"))
    texts = make(tmp_path / "t", files, [row(distiller=d, metric=m) for d, m in asked])
    found = {(line["distiller"], line["metric"]): line for line in lines(texts["csv"])}
    assert [found[d, "accuracy"]["diverged"] for d in ("dm", "dc", "mtt")] == ["1", "2", "0"]
    assert found["dc", "calibration_error"]["mean"] == ""
    assert found["dm", "calibration_error"]["diverged"] == "1"  # though it is that of the other network
    assert re.search(r"\d ‡ \| 1 seed \|$", texts["md"], re.MULTILINE)
    assert texts["md"].count("50.0 ‡") == 2
    assert "‡ diverged: networks behind the number have weights that are not finite" in texts["md"]
    assert "Not defined: calibration error: every network diverged" in texts["md"]
    assert r"50.0 $\ddagger$" in texts["tex"]


def test_one_seed_has_no_interval_however_many_networks(tmp_path):
    file = evaluation(tmp_path / "a.parquet", {"unbiased_accuracy": [0.5, 0.75]})
    texts = make(tmp_path / "t", [file], [row()])
    (line,) = lines(texts["csv"])
    assert (line["std"], line["interval"], line["n"], line["networks"]) == ("12.50", "", "1", "2")
    assert "62.5 | 1 seed |" in texts["md"]
    assert r"62.5 \\" in texts["tex"]
    assert "n = 1 seed everywhere." in texts["tex"]
    assert "<td>62.5</td><td>1 seed</td>" in texts["html"]
    assert "the mean over 2 networks for each" in texts["md"]
    assert "62.5 ± 12.5 | 1 seed |" in make(tmp_path / "t", [file], [row()], spread="deviation")["md"]


def test_seeds_count_alike_and_the_fewest_networks_of_a_seed_are_told(tmp_path):
    files = [
        evaluation(
            tmp_path / f"{seed}.parquet", {"unbiased_accuracy": values}, seed=seed, distillation={"moved": moved}
        )
        for seed, (values, moved) in enumerate([([0.5, 0.6, 0.7], 10), ([0.4, 0.4], 20)])
    ]
    (line,) = lines(make(tmp_path / "t", files, [row()])["csv"])
    assert (line["mean"], line["n"], line["networks"], line["moved"]) == ("50.00", "2", "2", "15.00")


def test_people_see_the_interval_and_may_ask_for_the_deviation(tmp_path, three_seeds):
    files, percent = three_seeds
    made = make(tmp_path / "t", files, [row()])
    (line,) = lines(made["csv"])
    means = np.reshape(percent, (3, 3)).mean(1)
    low, high = stats.t.interval(0.95, 2, loc=means.mean(), scale=stats.sem(means))
    assert float(line["interval"]) == pytest.approx((high - low) / 2, abs=0.005)
    assert f"{means.mean():.1f} ± {(high - low) / 2:.1f} | 3 |" in made["md"]
    assert "mean ± 95 %" in made["html"]
    assert "Student's t" in made["md"]
    assert "standard deviation" not in made["md"] + made["html"] + made["tex"]
    asked = make(tmp_path / "t", files, [row()], spread="deviation")
    assert f"{means.mean():.1f} ± {np.std(percent):.1f} | 3 |" in asked["md"]
    assert "standard deviation (ddof 0)" in asked["md"]
    assert asked["csv"] == made["csv"]


def of_cells(tmp_path, metric, **cells):
    """Write evaluations of cells, by name their values by seed, and return their files and their rows."""
    files, terms = [], {}
    for part, seeds in cells.items():
        terms[part] = {**row(distiller=part), "ratio": "0.95", "metric": metric}
        files += [
            evaluation(tmp_path / f"{part}{seed}", {metric: values}, distiller=part, seed=seed)
            for seed, values in seeds.items()
        ]
    return files, terms


def test_a_metric_of_several_cells_is_put_together(tmp_path):
    """A distilled set loses 30 points to the bias, the whole set 5: 25 more."""
    cells = {"distilled": [0.5, 0.52], "distilled_unbiased": [0.8, 0.82], "whole": [0.9], "whole_unbiased": [0.95]}
    files, terms = of_cells(tmp_path, "conflicting_accuracy", **{part: {0: values} for part, values in cells.items()})
    asked = row(metric="conflicting_amplification", terms=terms)
    made = make(tmp_path, files, [asked])
    found = lines(made["csv"])[0]
    assert (found["mean"], found["std"], found["interval"], found["n"]) == ("25.00", "", "", "1")
    assert "conflicting amplification ↓" in made["md"]
    assert "Amplification: how many points" in made["md"]
    assert "Amplification = size" not in made["md"]
    unfinished = make(tmp_path, files[:-1], [asked])
    assert lines(unfinished["csv"])[0]["mean"] == ""
    assert "not run yet" in unfinished["md"]


def test_what_is_made_of_several_cells_is_paired_by_seed(tmp_path):
    """Seeds differ by 20 points in all cells alike, so the difference hardly varies; one seed is not everywhere."""
    metric, luck = "unbiased_accuracy", {0: 0.0, 1: 0.1, 2: 0.2}
    own = {0: 0.01, 1: 0.02, 2: 0.06}
    files, terms = of_cells(
        tmp_path,
        metric,
        distilled={seed: [0.2 + luck[seed], 0.4 + luck[seed]] for seed in luck} | {7: [0.1, 0.1]},
        random={seed: [0.4 + luck[seed] + own[seed]] for seed in luck},
        distilled_unbiased={seed: [0.7] for seed in (2, 1, 0, 7)},
        random_unbiased={seed: [0.6] for seed in luck},
    )
    asked = row(metric="unbiased_distillation_amplification", terms=terms)
    (found,) = lines(make(tmp_path, files, [asked])["csv"])
    # (70 - 30 - luck) - (60 - 40 - luck - own) of every seed
    expected = 20 + 100 * np.array(list(own.values()))
    low, high = stats.t.interval(0.95, 2, loc=expected.mean(), scale=stats.sem(expected))
    assert float(found["mean"]) == pytest.approx(expected.mean(), abs=0.006)
    assert float(found["interval"]) == pytest.approx((high - low) / 2, abs=0.006)
    assert (found["n"], found["networks"]) == ("3", "1")


def test_cells_without_a_common_seed_are_not_paired(tmp_path):
    names = ("distilled", "distilled_unbiased", "whole", "whole_unbiased")
    files, terms = of_cells(tmp_path, "unbiased_accuracy", **{name: {i: [0.5]} for i, name in enumerate(names)})
    made = make(tmp_path, files, [row(metric="unbiased_amplification", terms=terms)])
    assert lines(made["csv"])[0]["mean"] == ""
    assert "| not paired | 0 |" in made["md"]
    assert "no distillation seed in common" in made["md"]


def test_differences_are_those_of_each_seed(tmp_path):
    values = {"kde": {0: [0.5, 0.6], 1: [0.7], 2: [0.9]}, "mine": {1: [0.74], 2: [0.92], 3: [0.1]}, "lone": {2: [0.8]}}
    files = [
        evaluation(tmp_path / f"{name}{seed}", {"unbiased_accuracy": of_seed}, debias=name, seed=seed)
        for name, seeds in values.items()
        for seed, of_seed in seeds.items()
    ]
    other = row(debias="kde")
    made = make(tmp_path, files, [other, *(row(debias=name, against=other) for name in ("mine", "lone", "later"))])
    kde, mine, lone, later = lines(made["csv"])
    assert (kde["against"], kde["difference"], kde["difference_n"]) == ("", "", "")
    assert [mine[f"difference{part}"] for part in ("", "_interval", "_n")] == ["3.00", f"{12.7062 * 1:.2f}", "2"]
    assert [lone[f"difference{part}"] for part in ("", "_interval", "_n")] == ["-10.00", "", "1"]
    assert [later[f"difference{part}"] for part in ("", "_interval", "_n")] == ["", "", "0"]
    cells = [line.split(" | ") for line in made["md"].splitlines() if line.startswith("|")]
    assert cells[0][-1] == "minus kde |"
    assert [line[-1] for line in cells[2:]] == [" |", "+3.0 ± 12.7 (2 seeds) |", "−10.0 |", " |"]
    assert "minus kde: the difference" in made["md"]


def test_differences_of_amplifications_are_those_of_each_seed(tmp_path):
    """The biased sets of mine lose 20 and 24 points less than those of kde, whose two seeds lose 30 and 40."""
    terms = {name: row(debias=name, distiller=name) for name in ("whole", "whole_unbiased")}
    values = {"whole": {0: [0.9], 1: [0.9]}, "whole_unbiased": {0: [0.95], 1: [0.95]}}
    of_debias, rows = {"kde": {0: [0.5], 1: [0.4]}, "mine": {0: [0.7], 1: [0.64], 2: [0.1]}}, []
    for name, of_seed in of_debias.items():
        values |= {name: of_seed, f"{name}_unbiased": {seed: [0.85] for seed in of_seed}}
        parts = {"distilled": name, "distilled_unbiased": f"{name}_unbiased"}
        more = {part: row(debias=one, distiller=one) for part, one in parts.items()}
        rows.append(row(debias=name, metric="unbiased_amplification", terms=terms | more))
    files = [
        evaluation(tmp_path / f"{name}{seed}", {"unbiased_accuracy": v}, debias=name, distiller=name, seed=seed)
        for name, of_seed in values.items()
        for seed, v in of_seed.items()
    ]
    kde, mine = lines(make(tmp_path, files, [rows[0], rows[1] | {"against": rows[0]}])["csv"])
    assert (kde["mean"], mine["mean"], mine["n"]) == ("35.00", "13.00", "2")
    half = stats.t.ppf(0.975, 1) * stats.sem([-20, -24])
    assert [mine[f"difference{part}"] for part in ("", "_interval", "_n")] == ["-22.00", f"{half:.2f}", "2"]


def test_a_number_of_sets_that_have_not_converged_has_a_mark(tmp_path):
    facts = {"iterations": 500, "at_most": 500, "moved": 1.5, "converged": True, "first_conflicting": 21}
    known = {0: facts, 1: {**facts, "moved": 2.5, "converged": False, "first_conflicting": 24}}
    files = [
        evaluation(tmp_path / f"{seed}", {"unbiased_accuracy": [0.5]}, seed=seed, distillation=one)
        for seed, one in known.items()
    ]
    files.append(evaluation(tmp_path / "c", {"unbiased_accuracy": [0.5]}, debias="done", distillation=facts))
    unknown = {**facts, "converged": None, "moved": None, "first_conflicting": None}
    files.append(evaluation(tmp_path / "r", {"unbiased_accuracy": [0.5]}, debias="real", distillation=unknown))
    files.append(evaluation(tmp_path / "o", {"unbiased_accuracy": [0.5]}, debias="old"))
    terms = {"distilled": row(debias="done"), "other": row()}
    rows = [row(), *(row(debias=name) for name in ("done", "real", "old"))]
    texts = make(tmp_path, files, rows)
    columns = ("converged", "moved", "first_conflicting")
    assert [tuple(line[name] for name in columns) for line in lines(texts["csv"])] == [
        ("false", "2.00", "22.5"), ("true", "1.50", "21.0"), ("", "", ""), ("", "", ""),
    ]  # fmt: skip
    assert "50.0 ± 0.0 † | 2 |" in texts["md"]
    assert texts["md"].count("†") == texts["html"].count("†") == texts["tex"].count(r"$\dagger$") == 2  # and its note
    assert "†" not in make(tmp_path, files, rows[1:])["md"]
    parts = ("distilled", "distilled_unbiased", "whole")
    terms = dict.fromkeys(parts, row(debias="done")) | {"whole_unbiased": row()}
    asked = [row(debias="done", metric="unbiased_amplification", terms=terms)]
    (found,) = lines(make(tmp_path, files, asked)["csv"])
    assert (found["n"], found["converged"], found["moved"]) == ("1", "true", "1.50")  # seed 1 is not behind it
    files.append(evaluation(tmp_path / "c1", {"unbiased_accuracy": [0.5]}, debias="done", seed=1, distillation=facts))
    (found,) = lines(make(tmp_path, files, asked)["csv"])
    assert (found["n"], found["converged"], found["moved"]) == ("2", "false", "1.50")


def test_a_difference_is_marked_for_either_side(tmp_path):
    guess = np.zeros((2, 2, 2), int)
    guess[:, :, 0] = 10
    facts = {"iterations": 500, "at_most": 500, "moved": 1.5, "converged": False, "first_conflicting": 21}
    files = [
        networks(tmp_path / "a.parquet", [FULL, FULL], debias="mine"),
        networks(tmp_path / "b.parquet", [FULL, guess], confidence=[np.ones((15, 3)), None]),
        evaluation(tmp_path / "c.parquet", {"accuracy": [0.5]}, debias="short", distillation=facts),
    ]
    against = row(metric="accuracy")
    rows = [against, *(row(debias=name, metric="accuracy", against=against) for name in ("mine", "short"))]
    texts = make(tmp_path / "t", files, rows)
    found = [re.sub(r"[^†‡]", "", line.split("|")[-2]) for line in texts["md"].splitlines() if line.startswith("|")]
    assert found[2:] == ["", "‡", "†‡"]
    texts = make(tmp_path / "u", files, [row(debias="mine", metric="accuracy", against=against)])
    assert "‡ diverged" in texts["md"]


def test_a_difference_has_no_mark_of_a_seed_that_is_not_behind_it(tmp_path):
    files = [
        evaluation(tmp_path / f"{debias}{seed}", {"accuracy": [0.5]}, debias=debias, seed=seed, distillation=facts)
        for debias, seed, facts in (
            ("mine", 0, {"converged": True}), ("kde", 0, {"converged": True}), ("kde", 1, {"converged": False}),
        )
    ]  # fmt: skip
    against = row(metric="accuracy")
    texts = make(tmp_path / "t", files, [against, row(debias="mine", metric="accuracy", against=against)])
    cells = [line.split("|") for line in texts["md"].splitlines() if line.startswith("|")]
    assert ["†" in line[-2] for line in cells[2:]] == [False, False]
    assert sum("†" in cell for cell in cells[2]) == 1  # the mean of kde itself


@pytest.mark.parametrize("facts", [{"converged": "yes"}, {"moved": "far"}, [1]])
def test_a_foreign_record_of_a_distillation_is_one_line(facts, tmp_path):
    path = evaluation(tmp_path / "a.parquet", {"unbiased_accuracy": [0.5]}, distillation=facts)
    with pytest.raises(DdbiasError, match=r"a\.parquet is damaged: distillation is no record of a run"):
        read_evaluations([path])


def test_the_csv_has_the_same_bytes_at_another_commit_and_order_of_files(tmp_path, three_seeds):
    files, _ = three_seeds
    one = make(tmp_path / "a", files, [row()], commit="abc123")
    two = make(tmp_path / "b", files[::-1], [row()], commit="def456")
    assert one["csv"] == two["csv"]
    for form in ("md", "tex", "html"):
        assert "abc123" in one[form]
        assert "scale quick" in one[form].lower()
        assert one[form].replace("abc123", "def456") == two[form]


def test_lines_and_metric_groups_keep_the_order_of_the_rows(tmp_path):
    metrics = {"unbiased_accuracy": [0.5], "deo_max": [0.25]}
    debias = ("uniform", "kde")
    files = [evaluation(tmp_path / f"{name}.parquet", metrics, debias=name) for name in debias]
    rows = [row(debias=name, metric=metric) for name, metric in itertools.product(debias, metrics)]
    table = [line for line in make(tmp_path / "t", files, rows)["md"].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    # What is the same in every line is said once above the table.
    assert cells[0] == ["debias", "unbiased accuracy", "n", "DEO max ↓", "n"]
    assert cells[2:] == [["uniform", "50.0", "1 seed", "25.0", "1 seed"], ["kde", "50.0", "1 seed", "25.0", "1 seed"]]


def test_one_cell_against_two_published_numbers_gets_two_lines(tmp_path, three_seeds):
    files, _ = three_seeds
    texts = make(tmp_path / "t", files, [row({**KDE_NUMBER, "method": "DM"}), row(KDE_NUMBER)])
    assert [line["published"] for line in lines(texts["csv"])] == ["23.80", "91.50"]
    assert sum("| 23.8 |" in line or "| 91.5 |" in line for line in texts["md"].splitlines()) == 2


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.spans = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.spans.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_names_cannot_break_out_of_any_format(tmp_path):
    name = 'a|b_<script>alert("1")</script>&50%'
    file = evaluation(tmp_path / "a.parquet", {"unbiased_accuracy": [0.5, 0.6]}, debias=name)
    texts = make(tmp_path / "t", [file], [row(debias=name), row()], caption=f"{name}\nx")
    parsed = Tags()
    parsed.feed(texts["html"])
    assert "script" not in parsed.tags
    assert name in parsed.text
    assert lines(texts["csv"])[0]["debias"] == name
    table = [line.replace("\\|", "") for line in texts["md"].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "<script>" not in texts["md"].replace("\\<", "")
    assert r"a\textbar{}b\_\textless{}script\textgreater{}" in texts["tex"]


def test_a_table_without_a_caption_has_none(tmp_path, three_seeds):
    texts = make(tmp_path / "t", three_seeds[0], [row()], caption="")
    assert "**" not in texts["md"]
    assert r"\caption" not in texts["tex"]
    assert 'class="caption"' not in texts["html"].partition("<body>")[2]
    assert 'aria-label="Results"' in texts["html"]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_tables_fit_the_column(tmp_path, three_seeds):
    """Many metrics, differences and published numbers, seeds that differ, a caption of many letters, in two columns."""
    metrics, debias = [*METRICS, "unbiased_distillation_amplification"], "a_long_name_of_a_debias"
    values = {metric: [0.5, 0.6] for metric in metrics}
    files = [
        evaluation(tmp_path / f"{d}{seed}", values, seed=seed, distiller=d, debias=debias)
        for d, seed in (("dm", 0), ("dm", 1), ("dc", 0))
    ]
    wide = [row(metric=metric, distiller=d, debias=debias) for metric in metrics for d in ("dm", "dc")]
    make(tmp_path / "wide", files, wide, caption="Erdős, 猫 & ąé ± $x_1$ \\section{} 50 % #")
    other = [row(KDE_NUMBER, against=row(debias="uniform")), row(debias="uniform")]
    make(tmp_path / "compared", three_seeds[0], other, caption="")
    document = [r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}\begin{document}"]
    document += [rf"\input{{{name}/main.tex}}" for name in ("wide", "compared")] + [r"\end{document}"]
    (tmp_path / "a.tex").write_text("\n".join(document))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "a.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "a.log").read_text(errors="replace")
    assert "Overfull" not in log
    assert "Missing character" not in log


def test_a_number_of_seeds_that_all_lines_share_is_said_once_in_latex(tmp_path, three_seeds):
    files, _ = three_seeds
    other = evaluation(tmp_path / "b", {"unbiased_accuracy": [0.5, 0.6]}, distiller="dc")
    shared = make(tmp_path / "t", files, [row()])["tex"]
    assert r"\begin{tabular}{llllllr}" in shared
    assert "n = 3 everywhere." in shared
    apart = make(tmp_path / "u", [*files, other], [row(), row(distiller="dc")])["tex"]
    assert "everywhere" not in apart
    assert re.search(r"& 3 \\\\\n.*& 1 seed \\\\", apart)


def test_every_line_of_a_format_has_as_many_cells_as_its_head(tmp_path, three_seeds):
    files, _ = three_seeds
    rows = [row(KDE_NUMBER), row(metric="deo_max"), row(distiller="dc"), row(distiller="dc", metric="deo_max")]
    texts = make(tmp_path / "t", files, rows)
    tex = [line for line in texts["tex"].splitlines() if line.endswith(r"\\")]
    columns = 1 + 4 + 2
    assert [line.count("&") + 1 for line in tex[1:]] == [columns] * 3
    assert texts["tex"].count(r"\begin{tabular}{lrrrrrr}") == 1
    parsed = Tags()
    parsed.feed(texts["html"])
    assert parsed.tags.count("td") == 2 * columns
    assert sum(
        int(a.get("colspan", 1)) for t, a in parsed.spans if t == "th" and ("colspan" in a or "rowspan" in a)
    ) == (columns)


@given(st.text(alphabet="ab&%$#_{}\\~^<>|±–", max_size=30))
def test_tex_escape_leaves_no_active_character(text):
    escaped = escape.latex(text)
    plain = escaped
    for command in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"):
        plain = plain.replace(f"\\{command}{{}}", "")
    plain = plain.replace(r"$\pm$", "").replace("--", "")
    for character in "&%$#_{}":
        plain = plain.replace(f"\\{character}", "")
    assert set(plain) <= set("ab")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"method": "DM+KDE"}, "DM+KDE reweighting"),
        ({"metric": "EOD"}, "unknown metric 'EOD'"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_selector_without_its_number_is_one_line(changes, line):
    with pytest.raises(DdbiasError) as caught:
        select_published(read_published(PUBLISHED), {**KDE_NUMBER, **changes})
    assert line in str(caught.value)


def test_a_selector_of_several_numbers_names_what_is_left_open():
    selector = {k: v for k, v in KDE_NUMBER.items() if k != "method"}
    with pytest.raises(DdbiasError, match=r"3 numbers match .*give also method"):
        select_published(read_published(PUBLISHED), selector)


def test_a_deviation_that_was_published_is_shown(tmp_path, three_seeds):
    files, _ = three_seeds
    selector = {"source": "README VICO-UoE/DatasetCondensation", "table": "DM text", "dataset": "CIFAR10"}
    with open(PUBLISHED, newline="") as file:
        truth = [r for r in csv.DictReader(file) if all(r[k] == v for k, v in selector.items())]
    assert truth[0]["std"], "the test needs a number with a deviation"
    selector |= {key: truth[0][key] for key in ("setting", "method", "ipc", "metric")}
    shown = f"{float(truth[0]['value']):.1f} ± {float(truth[0]['std']):.1f}"
    assert shown in make(tmp_path / "t", files, [row(selector)])["md"]


def test_damaged_and_foreign_evaluations_are_one_line(tmp_path):
    foreign, percent, torn = (tmp_path / name for name in ("foreign.parquet", "percent.parquet", "torn.parquet"))
    store.write_table(foreign, {"x": [1]}, {})
    evaluation(percent, {"accuracy": [91.5]})
    torn.write_bytes(percent.read_bytes()[:100])
    for path, words in ((foreign, "not an evaluation: it lacks study"), (percent, "outside 0..1"), (torn, "damaged")):
        with pytest.raises(DdbiasError, match=words):
            read_evaluations([path])


def test_what_is_relative_to_real_images_may_be_above_one(tmp_path):
    path = evaluation(tmp_path / "a.parquet", {"pixel_distance": [1.25, 0.75], "coverage": [0.5, 1.0]})
    assert read_evaluations([path])["value"].max() == 1.25
    asked = [row(metric="pixel_distance"), row(metric="coverage")]
    text = make(tmp_path / "t", [path], asked, spread="deviation")["md"]
    assert "100.0 ± 25.0" in text
    assert "draws of real images take the place of networks" in text
    for values in ({"coverage": [1.25]}, {"density": [-0.1]}, {"density": [float("nan")]}):
        with pytest.raises(DdbiasError, match="holds a value outside"):
            read_evaluations([evaluation(tmp_path / "b.parquet", values)])


def test_a_network_counted_twice_and_a_foreign_scale_are_refused(tmp_path):
    one = evaluation(tmp_path / "a.parquet", {"accuracy": [0.5]})
    copy = evaluation(tmp_path / "b.parquet", {"accuracy": [0.5]})
    with pytest.raises(DdbiasError, match="one network twice"):
        read_evaluations([one, copy])
    paper = evaluation(tmp_path / "c.parquet", {"accuracy": [0.5]}, scale="paper")
    with pytest.raises(DdbiasError, match="scale paper"):
        make(tmp_path / "t", [paper], [row()])
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("value", "text"), [(0.95, "0.95"), ("0.950", "0.95"), (1.0, "1"), (0, "0"), ("natural", "natural"), (0.1, "0.1")]
)
def test_ratios_are_written_shortest(value, text):
    assert shortest(value) == text


def test_numbers_are_fixed_and_never_minus_zero():
    assert [fixed(-0.001, 2), fixed(-0.001, 1, sign=True), fixed(None, 2), fixed(2.345, 1, sign=True)] == [
        "0.00", "0.0", "", "+2.3",
    ]  # fmt: skip
    assert len(CSV_COLUMNS) == 23


def test_people_facing_modules_do_not_load_torch():
    scripts = PUBLISHED.parents[1] / "scripts"
    modules = ", ".join(
        f"ddbias.results.{name}"
        for name in ("tables.tabulate", "report.page", "figures.accuracy", "figures.weights", "figures.images")
    )
    code = f"import sys; sys.path.insert(0, {str(scripts)!r}); import {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


CELL = {"dataset": "d", "ratio": "0.95", "distiller": "dm", "debias": "kde", "ipc": "10", "evaluation": "aug"}


def test_a_diverged_network_of_any_seed_is_counted():
    runs = [(0, 0, False), (0, 1, False), (1, 0, True), (1, 1, True), (2, 0, True), (2, 1, False)]
    rows = [
        {
            **CELL,
            "seed": s,
            "repeat": r,
            "metric": m,
            "value": 0.5,
            "diverged": d,
            "lacking": {},
            "converged": "",
            "moved": np.nan,
            "first_conflicting": np.nan,
        }
        for s, r, d in runs
        for m in ("accuracy", "deo_max")
    ]
    assert summarise(by_cell(pd.DataFrame(rows)), {**CELL, "metric": "accuracy"}, None).diverged == 3
