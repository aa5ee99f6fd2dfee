"""The area under the ROC curve against pairs counted one by one, and against scikit-learn."""

from fractions import Fraction

import numpy as np
import pytest
from ddbias.debias.weights.ranking import auc
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score


@given(
    arrays(np.float64, 25, elements=st.integers(-4, 4).map(float) | st.sampled_from([-np.inf, np.inf, 1e-300])),
    arrays(np.bool_, 25),
)
@settings(max_examples=60, deadline=None)
def test_the_share_of_pairs_in_order_exactly(score, positive):
    positive[:2] = [True, False]
    pairs = [(a > b) + Fraction(a == b, 2) for a in score[positive].tolist() for b in score[~positive].tolist()]
    assert auc(score, positive) == float(sum(pairs) / len(pairs))


def test_as_scikit_learn():
    random = np.random.default_rng(0)
    for share in (0.001, 0.5, 0.999):
        positive = random.random(20_000) < share
        score = (random.normal(size=20_000) + positive).astype(np.float32)
        assert auc(score, positive) == pytest.approx(roc_auc_score(positive, score), rel=1e-12)
