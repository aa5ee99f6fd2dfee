"""Amplification and DD-Ranking's scores against their definitions and limits."""

import math

import pytest
from ddbias.evaluation import comparisons
from hypothesis import given
from hypothesis import strategies as st

CELL = {"dataset": "d", "ratio": "0.95", "distiller": "dm", "debias": "kde", "ipc": "10", "evaluation": "aug"}
COMPARE = {"unbiased": 0.10, "whole": "whole", "random": "random", "plain": "bare", "debias": "uniform"}
PERCENT = st.floats(0, 100)


def test_amplification_compares_with_unbiased_data_of_the_same_kind():
    found = comparisons.terms("worst_group_amplification", CELL, COMPARE)
    assert {part["metric"] for part in found.values()} == {"worst_group_accuracy"}
    assert found["distilled"] == {**CELL, "metric": "worst_group_accuracy"}
    assert found["distilled_unbiased"] == {**found["distilled"], "debias": "uniform", "ratio": "0.1"}
    assert found["whole"] == {**found["distilled"], "distiller": "whole", "debias": "uniform", "ipc": "all"}
    assert found["whole_unbiased"] == {**found["whole"], "ratio": "0.1"}


def test_what_loses_as_much_as_the_whole_set_amplifies_nothing():
    means = {"distilled_unbiased": 80, "distilled": 70, "whole_unbiased": 99, "whole": 89}
    assert comparisons.value("unbiased_amplification", means) == 0
    assert comparisons.value("unbiased_amplification", {**means, "distilled": 40}) == 30
    assert comparisons.value("unbiased_amplification", {**means, "distilled": 75}) == -5  # it suppresses the bias


@given(st.lists(PERCENT, min_size=6, max_size=6))
def test_amplification_is_that_of_the_size_and_that_of_distillation(percent):
    for metric in ("unbiased_amplification", "worst_group_amplification"):
        parts = {}
        for one in (metric, *comparisons.split(metric)):
            for part, cell in comparisons.terms(one, CELL, COMPARE).items():
                assert parts.setdefault(part, cell) == cell  # what they share is the same cell in all three
        means = dict(zip(sorted(parts), percent, strict=True))
        together = sum(comparisons.value(one, means) for one in comparisons.split(metric))
        assert together == pytest.approx(comparisons.value(metric, means), abs=1e-9)


def test_the_random_set_is_drawn_as_the_debias_draws_and_plainly_where_there_is_no_bias():
    found = comparisons.terms("conflicting_distillation_amplification", CELL, COMPARE)
    assert found["random"] == {**CELL, "distiller": "random", "metric": "conflicting_accuracy"}
    assert found["random_unbiased"] == {**found["random"], "debias": "uniform", "ratio": "0.1"}
    assert "whole" not in found
    # Nobody's fault but the size's: 20 points are lost by any ten images, none by the whole set.
    means = {"distilled": 60, "distilled_unbiased": 95, "random": 70, "random_unbiased": 90}
    assert comparisons.value("conflicting_distillation_amplification", means) == 15


@given(PERCENT, PERCENT, PERCENT)
def test_the_label_score_is_its_formula_in_fractions(distilled, random, whole):
    alpha = 0.5 * (distilled - random) / 100 - 0.5 * (whole - distilled) / 100
    expected = (math.e**alpha - math.e**-1) / (math.e - math.e**-1)
    found = comparisons.value("label_robust_score", {"distilled": distilled, "random": random, "whole": whole})
    assert found == pytest.approx(100 * expected, abs=1e-9)
    assert -1e-9 <= found <= 100 + 1e-9


def test_the_scores_are_at_most_one_and_at_least_zero():
    best = {"distilled": 100, "random": 0, "whole": 0}
    assert comparisons.value("label_robust_score", best) == pytest.approx(100)
    assert comparisons.value("label_robust_score", {"distilled": 0, "random": 100, "whole": 100}) == pytest.approx(0)
    best = {"distilled": 100, "random": 0, "distilled_plain": 100, "random_plain": 0}
    assert comparisons.value("augmentation_robust_score", best) == pytest.approx(100)
    same = dict.fromkeys(best, 70)
    nothing_gained = (1 - math.e**-1) / (math.e - math.e**-1)
    assert comparisons.value("augmentation_robust_score", same) == pytest.approx(100 * nothing_gained)


def test_the_augmentation_score_needs_the_evaluation_without():
    found = comparisons.terms("augmentation_robust_score", CELL, COMPARE)
    assert {part["metric"] for part in found.values()} == {"accuracy"}
    assert found["random_plain"]["evaluation"] == found["distilled_plain"]["evaluation"] == "bare"
    assert found["random_plain"]["distiller"] == "random" != found["distilled_plain"]["distiller"]


CELL = {"dataset": "d", "ratio": "0.95", "distiller": "dm", "debias": "kde", "ipc": "10", "evaluation": "aug"}


COMPARE = {"unbiased": 0.10, "whole": "whole", "random": "random", "plain": "bare", "debias": "uniform"}


@pytest.mark.parametrize("metric", ["label_robust_score", "augmentation_robust_score"])
def test_random_images_of_a_score_are_drawn_without_a_debias(metric):
    found = comparisons.terms(metric, CELL, COMPARE)
    plain = {**CELL, "debias": "uniform", "metric": "accuracy"}
    assert found["random"] == {**plain, "distiller": "random"}
    assert found.get("whole", {**plain, "distiller": "whole", "ipc": "all"}) == {
        **plain,
        "distiller": "whole",
        "ipc": "all",
    }
    if metric == "augmentation_robust_score":
        assert found["random_plain"] == {**plain, "distiller": "random", "evaluation": "bare"}


def test_the_augmentation_score_is_its_formula_in_fractions():
    means = {"distilled": 60, "random": 50, "distilled_plain": 30, "random_plain": 45}
    beta = 0.5 * 0.10 + 0.5 * -0.15
    expected = 100 * (math.exp(beta) - math.exp(-1)) / (math.exp(1) - math.exp(-1))
    assert comparisons.value("augmentation_robust_score", means) == pytest.approx(expected, abs=1e-9)
