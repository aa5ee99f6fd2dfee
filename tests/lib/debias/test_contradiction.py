import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.debias.evidence import MIN_EVIDENCE, clearest, evidence, excluded
from ddbias.debias.kinds.contradiction import contradiction_weights, estimate
from hypothesis import given
from hypothesis import strategies as st


def logits_of(predicted, classes, confidence):
    logits = np.zeros((len(predicted), classes), np.float32)
    logits[np.arange(len(predicted)), predicted] = confidence
    return logits


def plain_weights(labels, predicted, power):
    """Straight from the text: sample by sample."""
    weights = []
    for label, guess in zip(labels, predicted, strict=True):
        of_class = [p for y, p in zip(labels, predicted, strict=True) if y == label]
        names = sorted(set(of_class))
        if label not in names or len(names) == 1:
            weights.append(1.0)
            continue
        total = sum(of_class.count(name) ** power for name in names if name != label)
        share = 1 / len(names)
        if guess != label:
            share = (1 - share) * of_class.count(guess) ** power / total
        weights.append(share / of_class.count(guess) * len(of_class))
    return np.array(weights)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60), st.sampled_from([0.0, 0.5, 1.0])
)
def test_weights_equal_a_plain_loop_and_have_mean_one(pairs, power):
    labels, predicted = np.array(pairs).T
    weights = contradiction_weights(labels, predicted, power=power)
    np.testing.assert_allclose(weights, plain_weights(labels.tolist(), predicted.tolist(), power), rtol=1e-12)
    for label in np.unique(labels):
        assert weights[labels == label].mean() == pytest.approx(1)


def test_perfect_predictions_of_the_attribute_balance_it():
    """Power 0 with the attribute itself is the balance of the true groups; every pair holds the same weight."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 4, 4000)
    attributes = np.where(generator.random(4000) < 0.9, labels, generator.integers(0, 4, 4000))
    weights = contradiction_weights(labels, attributes, power=0)
    table = np.zeros((4, 4))
    np.add.at(table, (labels, attributes), weights)
    np.testing.assert_allclose(table, table[:, :1] * np.ones((1, 4)), rtol=1e-12)


def test_evidence_counts_excluded_labels():
    labels = np.array([0, 0, 0, 1, 1])
    predicted = np.array([0, 1, 1, 1, 0])
    logits = logits_of(predicted, 2, 5.0)
    assert excluded(logits, labels).tolist() == [False, True, True, False, True]
    logits[1] *= 0.2  # exp(-1) is more than 1 / 4: undecided
    out = excluded(logits, labels)
    assert out.tolist() == [False, False, True, False, True]
    assert evidence(predicted[:, None], out[:, None], labels) == pytest.approx([2 / 3])


def test_evidence_of_each_moment():
    labels = np.array([0, 0, 0, 1, 1])
    predicted = np.stack([labels, 1 - labels, [1, 1, 0, 1, 1]], 1)
    out = np.array([[0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert evidence(predicted, out, labels).tolist() == [0, 2 / 5, 1 / 2]  # of none, five and two contradicted ones


def test_without_evidence_the_weights_are_uniform_and_it_is_said(log_lines):
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 10, 500)
    hard = generator.random(500) < 0.1
    predicted = np.where(hard, (labels + 1) % 10, labels)
    undecided = {"label": labels, "logits": logits_of(predicted, 10, 1.0)}
    found = estimate(undecided)
    assert (found.weights == 1).all()
    assert (found.groups == labels).all()
    assert "excludes the label of only 0 %" in log_lines[0]
    for decided in estimate({"label": labels, "logits": logits_of(predicted, 10, 8.0)}):
        assert decided.diagnostics == {"evidence": 1.0}
        assert decided.evident
        assert decided.weights[hard].mean() > 4 > 1 > decided.weights[~hard].mean()
        assert (decided.groups == predicted).all()
    where_excluded, all_contradicted = estimate(undecided, min_evidence=0)
    assert (where_excluded.weights == 1).all()
    assert (all_contradicted.weights != 1).any()
    assert not all_contradicted.evident


def test_the_last_of_nearly_equal_moments_is_the_clearest():
    assert [clearest(np.array(found)) for found in ([0.5, 0.6, 0.56], [0.5, 0.6, 0.5], [0.6, 0.4, 0.2], [0.5])] == [
        2,
        1,
        0,
        0,
    ]


def test_two_estimates_of_the_clearest_moment():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 4, 200)
    predictions = generator.integers(0, 4, (200, 3))
    for moment in range(3):
        often = np.where(np.arange(3) == moment, 0.9, 0.5)
        out = (predictions != labels[:, None]) & (generator.random((200, 3)) < often)
        columns = {"label": labels, "predictions": predictions.astype(np.float32), "excluded": out.astype(np.float32)}
        found = estimate(columns, power=1)
        assert len(found) == 2
        taken_for, excluded = predictions[:, moment], out[:, moment]
        pure = [int(p) if o else int(y) for p, o, y in zip(taken_for, excluded, labels, strict=True)]
        for one, groups in zip(found, (np.array(pure), taken_for), strict=True):
            np.testing.assert_array_equal(one.groups, groups)
            np.testing.assert_array_equal(one.weights, contradiction_weights(labels, groups, power=1))
        share = excluded.sum() / (taken_for != labels).sum()
        assert found[0].diagnostics == {"evidence": pytest.approx(share)}
        assert share > MIN_EVIDENCE


def test_a_classifier_that_was_looked_at_once_gives_two():
    labels, predicted = np.arange(60) % 3, np.arange(60) // 2 % 3
    found = estimate({"label": labels, "logits": logits_of(predicted, 3, 8.0)}, power=1)
    assert len(found) == 2
    for one in found:
        np.testing.assert_array_equal(one.weights, contradiction_weights(labels, predicted, power=1))


def test_a_surrogate_that_does_not_classify_is_named():
    with pytest.raises(DdbiasError, match="contradiction needs the logits of its surrogate, which stores none"):
        estimate({"label": np.zeros(3, int), "embedding": np.zeros((3, 2))})
