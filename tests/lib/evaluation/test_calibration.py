"""The expected calibration error against its definition, a sample at a time."""

import numpy as np
import pytest
from ddbias.evaluation.calibration import BINS, bin_confidences, calibration_error
from hypothesis import given
from hypothesis import strategies as st

SAMPLES = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def slow_error(samples):
    """Guo et al., equation 3: bins ((m - 1) / M, m / M], weighted by their share of the samples."""
    total = 0.0
    for m in range(1, BINS + 1):
        within = [(p, hit) for p, hit in samples if (m - 1) / BINS < p <= m / BINS or (m == 1 and p == 0)]
        if within:
            accuracy = sum(hit for _, hit in within) / len(within)
            confidence = sum(p for p, _ in within) / len(within)
            total += len(within) / len(samples) * abs(accuracy - confidence)
    return total


@given(SAMPLES)
def test_the_error_is_its_definition(samples):
    # Away from the edges of the bins, where the last bit of a division decides.
    samples = [(round(p, 3) + 1e-6 if 0 < p < 1 else p, hit) for p, hit in samples]
    samples = [(min(p, 1.0), hit) for p, hit in samples]
    confidences, correct = map(np.array, zip(*samples, strict=True))
    bins = bin_confidences(confidences, correct)
    assert bins[:, 0].sum() == len(samples)
    assert calibration_error(bins) == pytest.approx(slow_error(samples), abs=1e-9)


def test_a_network_that_is_as_sure_as_it_is_right_has_no_error():
    confidences = np.repeat([0.2, 0.7, 1.0], 10)
    correct = np.concatenate([np.arange(10) < 2, np.arange(10) < 7, np.arange(10) < 10])
    assert calibration_error(bin_confidences(confidences, correct)) == pytest.approx(0, abs=1e-12)


def test_a_network_that_is_sure_and_wrong_has_all_the_error():
    assert calibration_error(bin_confidences(np.ones(5), np.zeros(5, bool))) == 1.0


def test_confidences_of_a_diverged_network_are_none():
    assert bin_confidences(np.array([0.5, np.nan]), np.array([True, False])) is None


def test_a_confidence_on_a_border_is_in_the_lower_bin():
    """((i - 1) / 15, i / 15], arXiv 1706.04599."""
    bins = bin_confidences(np.array([1 / 15, 0.2, 0.6, 1.0, 0.0]), np.ones(5, bool))
    assert np.flatnonzero(bins[:, 0]).tolist() == [0, 2, 8, 14]
    assert bins[0, 0] == 2  # 0 is in the first one, too
