"""What the page says first, against numbers by hand."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from ddbias.results.report.sets import Evaluation, Result, Run
from ddbias.results.report.summary import MARGIN, WIDTH, summarise
from scipy import stats

STUDENT = 4.30265  # of two degrees of freedom, at 95 %


def run(debias, seed, value, *, distiller="dm", ratio="0.95", metric="unbiased_accuracy", kind="", converged=""):
    key = {"dataset": "d", "ratio": ratio, "distiller": distiller, "debias": debias, "ipc": "10", "seed": str(seed)}
    results = {name: Result(value, None, 1, "9") for name in ("accuracy", metric)} if value is not None else {}
    results |= {"accuracy": Result(1.0, None, 1, "9")} if metric != "accuracy" and results else {}
    settings = {"distiller.kind": kind or distiller, "debias.kind": debias.split("_")[0]}
    evaluations = {"net": Evaluation(results, "balanced", {}, {}, 0)} if results else {}
    return Run(Path("x"), key, None, [], None, {}, {}, settings, "", converged, evaluations)


def of(*runs):
    return summarise(runs, [f"row{number}" for number in range(len(runs))])


def several(debias, values, **more):
    return [run(debias, seed, value, **more) for seed, value in enumerate(values)]


def test_what_knows_the_attribute_is_marked():
    true = run("group_balanced", 0, 80.0)
    true.settings["debias.groups"] = "attribute"
    guessed = run("fairdd", 0, 70.0)
    guessed.settings["debias.groups"] = "predicted"
    (found,) = of(true, guessed, run("kde", 0, 60.0)).comparisons
    marked = {line.debias: line.informed for line in found.lines}
    assert marked == {"group_balanced": True, "fairdd": False, "kde": False}


def test_the_best_comes_first_and_differences_are_paired_by_seed():
    runs = [*several("kde", [70.0, 74.0, 78.0]), *several("uniform_a", [50.0, 55.0, 57.0]), run("group", 5, 60.0)]
    (found,) = of(*runs).comparisons
    assert [(line.debias, line.plain, line.row) for line in found.lines] == [
        ("kde", False, "row0"),
        ("group", False, "row6"),
        ("uniform_a", True, "row3"),
    ]
    best = found.lines[0].value
    assert (best.mean, best.n) == (74.0, 3)
    assert best.interval == pytest.approx(STUDENT * 4 / 3**0.5, rel=1e-5)
    assert found.lines[1].value.text() == "60.0 (1 seed)"
    # 20, 19 and 21, whose deviation is 1.
    assert (found.gain.mean, found.gain.n) == (20.0, 3)
    best_of_two = stats.t.ppf(1 - 0.05 / 2 / 2, 2)
    assert found.gain.interval == pytest.approx(best_of_two / 3**0.5, rel=1e-5)
    assert found.gain.text(sign=True) == "+20.0 ± 3.6"
    assert found.metric == "unbiased_accuracy"
    assert found.added is None


def test_the_best_of_many_that_are_equal_is_rarely_better_than_plain():
    """Of six that are as plain is, the interval of the best excludes 0 in 5 % of studies at most."""
    values = np.random.default_rng(0).normal(50, 1, (400, 7, 5))
    found = []
    for study in values:
        runs = [several(f"d{i}" if i else "uniform", of_seeds) for i, of_seeds in enumerate(study)]
        (one,) = of(*itertools.chain(*runs)).comparisons
        found.append(one.gain is not None and one.gain.mean > one.gain.interval)
    assert 0 < np.mean(found) <= 0.05


def test_what_distillation_adds_is_over_random_images_with_the_same_debias():
    runs = several("group", [90.0, 90.0]) + several("kde", [70.0, 74.0])
    random = {"distiller": "coreset", "kind": "random"}
    runs += several("kde", [60.0, 66.0], **random) + several("uniform", [80.0, 80.0], **random)
    runs += several("uniform", [99.0], distiller="all", kind="whole")
    (found,) = of(*runs).comparisons
    assert found.title == "d, ratio 0.95, dm, IPC 10, net"
    assert (found.added.mean, found.added_with) == (9.0, "kde")
    assert found.gain is None, "there is no plain one"


def test_a_study_without_a_method_shows_what_it_has():
    runs = several("kde", [60.0], distiller="random") + several("uniform", [65.0], distiller="random")
    (found,) = of(*runs).comparisons
    assert found.lines[0].debias == "uniform"
    assert (found.gain, found.added) == (None, None)


def test_ratios_are_not_mixed_and_accuracy_does_where_nothing_is_known_of_groups():
    found = of(
        run("kde", 0, 60.0), run("kde", 0, 61.0, ratio="0.5"), run("kde", 0, 62.0, ratio="0.1", metric="accuracy")
    )
    assert [(one.title.split(", ")[1], one.metric) for one in found.comparisons] == [
        ("ratio 0.95", "unbiased_accuracy"),
        ("ratio 0.5", "unbiased_accuracy"),
        ("ratio 0.1", "accuracy"),
    ]


def test_dots_lie_on_one_axis_within_their_drawing():
    (found,) = of(*several("kde", [99.0, 70.0]), *several("uniform", [50.0, 50.0])).comparisons
    best, plain = found.lines
    assert (found.low, found.high) == ("0.0", "100.0")
    assert (best.low, best.high) == (MARGIN, WIDTH - MARGIN)
    assert plain.dot == plain.low == plain.high == found.plain == WIDTH / 2
    assert best.dot == pytest.approx(MARGIN + 0.845 * (WIDTH - 2 * MARGIN), abs=0.1)
    (one,) = of(run("kde", 0, 100.0)).comparisons
    assert (one.low, one.high, one.lines[0].dot) == ("99.0", "100.0", WIDTH - MARGIN)


def test_what_to_doubt():
    found = of(run("kde", 0, 60.0, converged="true"), run("kde", 1, None, converged="false"))
    assert found.unconverged == found.unevaluated == [("d 0.95 dm kde 10 1", "row1")]
    assert found.diverged == []
    assert of().comparisons == []
