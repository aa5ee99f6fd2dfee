import numpy as np
import pytest
import torch
from ddbias import assign_attributes, colorize
from ddbias.base.errors import DdbiasError
from ddbias.datasets import bias, sources
from ddbias.datasets.bias.colour import colour_noise
from ddbias.datasets.colorize import COLOURS, NOISE_STD
from ddbias.datasets.sources.record import RawImages
from hypothesis import given, settings
from hypothesis import strategies as st

MNIST_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)
CIFAR_TRAIN, CIFAR_TEST = (5000,) * 10, (1000,) * 10

# Published behaviour of the reference on the MNIST training labels: aligned samples of each class.
MNIST_ALIGNED = {
    0.0: (0,) * 10,
    0.1: (592, 674, 595, 613, 584, 543, 592, 626, 585, 595),
    0.5: (2962, 3371, 2979, 3065, 2921, 2710, 2959, 3133, 2926, 2974),
    0.8: (4738, 5393, 4766, 4905, 4674, 4337, 4734, 5012, 4681, 4759),
    0.95: (5627, 6405, 5660, 5825, 5550, 5150, 5622, 5951, 5558, 5652),
    0.98: (5805, 6607, 5839, 6008, 5725, 5313, 5800, 6140, 5734, 5830),
    0.99: (5864, 6675, 5899, 6070, 5784, 5367, 5859, 6202, 5792, 5890),
    0.995: (5893, 6708, 5928, 6101, 5813, 5394, 5888, 6234, 5822, 5919),
    1.0: MNIST_TRAIN,
}
ROWS = [
    (MNIST_TRAIN, 0.95, 0, "5627 33 33 33 32 33 33 33 33 33"),
    (MNIST_TRAIN, 0.95, 5, "30 30 30 30 31 5150 30 30 30 30"),
    (CIFAR_TRAIN, 0.95, 0, "4750 28 28 27 28 28 28 27 28 28"),
    (CIFAR_TRAIN, 0.95, 3, "28 28 27 4750 28 28 28 27 28 28"),
    (CIFAR_TRAIN, 0.8, 0, "4000 111 111 111 111 112 111 111 111 111"),
    (CIFAR_TRAIN, 0.0, 0, "0 556 555 556 555 556 555 556 555 556"),
    (MNIST_TEST, 0.0, 0, "0 109 109 109 109 108 109 109 109 109"),
    (CIFAR_TEST, 0.0, 0, "0 111 111 111 111 112 111 111 111 111"),
    (CIFAR_TEST, 0.1, 7, "100 100 100 100 100 100 100 100 100 100"),
    (MNIST_TEST, 0.1, 0, "98 98 98 98 98 98 98 98 98 98"),
    (MNIST_TEST, 0.1, 9, "101 101 101 101 100 101 101 101 101 101"),
]
CIFAR_CONFLICTING = {
    0.0: 50000, 0.1: 45000, 0.5: 25000, 0.8: 10000, 0.95: 2500, 0.98: 1000, 0.99: 500, 0.995: 250, 1.0: 0,
}  # fmt: skip

# Grey values, colour 0 and the noise of torch's CPU generator seeded with 42: the reference's output by severity.
PROBE_NOISE = (0.33669037, 0.12880941, 0.23446237)
PROBE_GREY = (0, 51, 102, 153, 204, 255)
PROBE = {
    1: ((0, 51, 102, 153, 204, 255), (0, 16, 32, 48, 65, 81), (0, 9, 18, 27, 36, 45)),
    2: ((0, 50, 101, 151, 202, 252), (0, 16, 32, 48, 64, 80), (0, 8, 17, 26, 35, 44)),
    3: ((0, 50, 100, 151, 201, 251), (0, 16, 32, 48, 64, 80), (0, 8, 17, 26, 34, 43)),
    4: ((0, 50, 100, 150, 201, 251), (0, 15, 31, 47, 63, 79), (0, 8, 17, 25, 34, 43)),
}


def label_vector(counts):
    """Labels with these counts, in a mixed order."""
    return np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))


def count_matrix(labels, attributes, shape=(10, 10)):
    matrix = np.zeros(shape, int)
    np.add.at(matrix, (labels, attributes), 1)
    return matrix


def grey_batch(seed, count, height=6, width=5):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, height, width), dtype=np.uint8)
    return images, rng.integers(0, 10, count), rng.standard_normal((count, 3)).astype(np.float32)


@pytest.mark.parametrize("ratio", MNIST_ALIGNED)
def test_aligned_counts_on_mnist(ratio):
    labels = label_vector(MNIST_TRAIN)
    matrix = count_matrix(labels, assign_attributes(labels, ratio, 10))
    assert tuple(np.diag(matrix)) == MNIST_ALIGNED[ratio]
    assert tuple(matrix.sum(1)) == MNIST_TRAIN


@pytest.mark.parametrize(("counts", "ratio", "row", "expected"), ROWS)
def test_published_rows(counts, ratio, row, expected):
    labels = label_vector(counts)
    matrix = count_matrix(labels, assign_attributes(labels, ratio, 10))
    assert " ".join(map(str, matrix[row])) == expected


@pytest.mark.parametrize("ratio", CIFAR_CONFLICTING)
def test_conflicting_totals_on_cifar(ratio):
    labels = label_vector(CIFAR_TRAIN)
    assert (assign_attributes(labels, ratio, 10) != labels).sum() == CIFAR_CONFLICTING[ratio]


def plain_assignment(labels, ratio, attributes):
    """The rule as a loop over samples; Python's round() also takes halves to even."""
    seen, out = {}, []
    for label in labels:
        position, cumulated, total = seen.get(label, 0), 0.0, sum(labels == label)
        seen[label] = position + 1
        for attribute in range(attributes):
            cumulated += ratio if attribute == label else (1 - ratio) / (attributes - 1)
            if round(total * cumulated) > position:
                break
        out.append(attribute)
    return out


label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60)
ratios = st.one_of(st.floats(0, 1), st.sampled_from([0, 0.1, 0.25, 0.5, 0.95, 1]))


@settings(max_examples=60, deadline=None)
@given(label_lists, ratios, st.integers(5, 12))
def test_assignment_is_the_plain_loop(labels, ratio, attributes):
    labels = np.array(labels)
    assigned = assign_attributes(labels, ratio, attributes)
    assert assigned.dtype == np.int64
    assert assigned.tolist() == plain_assignment(labels, ratio, attributes)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=2, max_size=10), ratios)
def test_margins(counts, ratio):
    labels = label_vector(counts)
    assigned = assign_attributes(labels, ratio, 10)
    matrix = count_matrix(labels, assigned)
    for label, count in enumerate(counts):
        shares = np.full(10, count * (1 - ratio) / 9)
        shares[label] = count * ratio
        assert np.abs(matrix[label] - shares).max() <= 1 + 1e-9
        assert (np.diff(assigned[labels == label]) >= 0).all()


@pytest.mark.parametrize("ratio", [-0.1, 1.2, float("nan")])
def test_ratio_outside_is_refused(ratio):
    with pytest.raises(DdbiasError, match="between 0 and 1"):
        assign_attributes(np.arange(3), ratio, 10)


@pytest.mark.parametrize(("labels", "attributes", "message"), [([0, 3], 3, "none paired"), ([0], 1, "at least 2")])
def test_impossible_assignments_are_refused(labels, attributes, message):
    with pytest.raises(DdbiasError, match=message):
        assign_attributes(np.array(labels), 0.5, attributes)


def places(labels, attributes):
    """Mean place of every group (label, attribute) among the samples of its class, from 0, the first, to 1."""
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        rank[labels == label] = np.linspace(0, 1, (labels == label).sum())
    return np.array([[rank[(labels == y) & (attributes == a)].mean() for a in range(10)] for y in range(10)])


@pytest.mark.parametrize("kind", ["foreground", "background", "corruption"])
def test_shuffled_attributes_have_the_same_counts_and_say_nothing_about_the_place(kind):
    labels = label_vector(MNIST_TEST)
    part = RawImages(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, tuple("0123456789"))

    def assigned(ratio, seed=0, split="test", **options):
        made = bias.build({"kind": kind, "severity": 1, **options})
        return made.assign(part, bias.Context(split, ratio, "natural", seed)).attributes

    ordered = assign_attributes(labels, 0.1, 10)
    np.testing.assert_array_equal(assigned(0.1), ordered)
    np.testing.assert_array_equal(assigned(0.1, assignment="published"), ordered)
    shuffled = assigned(0.1, assignment="shuffled")
    np.testing.assert_array_equal(count_matrix(labels, shuffled), count_matrix(labels, ordered))
    assert np.abs(places(labels, ordered) - (np.arange(10) + 0.5) / 10).max() < 0.01  # the attribute is the place
    assert np.abs(places(labels, shuffled) - 0.5).max() < 0.13  # groups of a hundred: deviation .03
    np.testing.assert_array_equal(shuffled, assigned(0.1, assignment="shuffled"))
    for other in ({"seed": 1}, {"split": "train"}):
        assert (shuffled != assigned(0.1, assignment="shuffled", **other)).mean() > 0.8
    # The more biased, the more samples are aligned: those of a lower ratio among them.
    aligned = [assigned(ratio, assignment="shuffled")[labels == 0] == 0 for ratio in (0.5, 0.95)]
    assert aligned[0].sum() == 490
    assert (aligned[0] <= aligned[1]).all()


@pytest.mark.parametrize("severity", PROBE)
def test_colour_probe(severity):
    grey = np.array(PROBE_GREY, np.uint8).reshape(1, 2, 3)
    out = colorize(grey, np.array([0]), severity=severity, noise=np.array([PROBE_NOISE]))
    assert out.dtype == np.uint8
    assert out.shape == (1, 3, 2, 3)
    assert out.reshape(3, 6).tolist() == [list(channel) for channel in PROBE[severity]]


def plain_colours(grey, colour, deviation, noise, where):
    """The formulas, one pixel at a time, in float32."""
    out = np.empty((3, *grey.shape), np.uint8)
    for channel in range(3):
        tone = np.float32(colour[channel] + np.float32(deviation) * noise[channel])
        tone = min(max(tone, np.float32(0)), np.float32(1))
        for position, value in np.ndenumerate(grey):
            value = np.float32(value)
            if where == "foreground":
                shown = np.float32(tone * value)
            else:
                shown = np.float32(value + np.float32(tone * np.float32(np.float32(255) - value)))
            out[channel][position] = int(shown)
    return out


@pytest.mark.parametrize("where", ["foreground", "background"])
@pytest.mark.parametrize("severity", NOISE_STD)
def test_colours_are_the_plain_loop(where, severity):
    images, attributes, noise = grey_batch(severity, 12)
    out = colorize(images, attributes, severity=severity, noise=noise, where=where)
    for i in range(len(images)):
        expected = plain_colours(images[i], COLOURS[attributes[i]], NOISE_STD[severity], noise[i], where)
        np.testing.assert_array_equal(out[i], expected)


@pytest.mark.parametrize("where", ["foreground", "background"])
def test_numpy_equals_torch_and_torchs_own_arithmetic(where):
    images, attributes, noise = grey_batch(0, 700)
    ours = colorize(images, attributes, severity=2, noise=noise, where=where)
    given = torch.from_numpy(images)[:, None], torch.from_numpy(attributes)
    theirs = colorize(*given, severity=2, noise=torch.from_numpy(noise), where=where)
    assert isinstance(theirs, torch.Tensor)
    np.testing.assert_array_equal(ours, theirs.numpy())
    tone = (torch.from_numpy(COLOURS)[given[1]] + torch.from_numpy(noise) * 0.02).clamp(0, 1)[:, :, None, None]
    expected = tone * given[0] if where == "foreground" else given[0] + tone * (255 - given[0])
    np.testing.assert_array_equal(ours, expected.to(torch.uint8).numpy())


def test_foreground_keeps_black_and_background_keeps_white():
    images = np.full((10, 4, 4), 0, np.uint8)
    noise = np.zeros((10, 3), np.float32)
    assert not colorize(images, np.arange(10), severity=1, noise=noise).any()
    white = colorize(images + 255, np.arange(10), severity=1, noise=noise, where="background")
    assert (white == 255).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 40), st.sampled_from(["foreground", "background"]))
def test_colour_of_an_image_does_not_depend_on_its_batch(seed, count, where):
    images, attributes, noise = grey_batch(seed, count, 9, 9)
    whole = colorize(images, attributes, severity=1, noise=noise, where=where)
    order = np.random.default_rng(seed).permutation(count)[: max(1, count // 2)]
    part = colorize(images[order], attributes[order], severity=1, noise=noise[order], where=where)
    np.testing.assert_array_equal(whole[order], part)


def test_large_images_and_an_empty_batch():
    images, attributes, noise = grey_batch(0, 3, 500, 500)
    out = colorize(images, attributes, severity=3, noise=noise)
    np.testing.assert_array_equal(out[2], colorize(images[2:], attributes[2:], severity=3, noise=noise[2:])[0])
    assert colorize(images[:0], attributes[:0], severity=3, noise=noise[:0]).shape == (0, 3, 500, 500)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"severity": 6}, "one of 1, 2, 3, 4, 5"),
        ({"severity": True}, "one of 1, 2, 3, 4, 5"),
        ({"where": "foregroud"}, "Did you mean 'foreground'"),
        ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, "grey uint8"),
        ({"images": np.zeros((2, 4, 4), np.float32)}, "grey uint8"),
        ({"attributes": np.array([0, 10])}, "must be 0 to 9"),
        ({"attributes": np.array([-1, 0])}, "must be 0 to 9"),
        ({"noise": np.zeros((2, 1))}, "as many attributes"),
    ],
)
def test_wrong_arguments_of_colorize(change, message):
    good = {
        "images": np.zeros((2, 4, 4), np.uint8),
        "attributes": np.array([0, 1]),
        "severity": 1,
        "noise": np.zeros((2, 3)),
    }
    given = {**good, **change}
    with pytest.raises(DdbiasError, match=message):
        colorize(given.pop("images"), given.pop("attributes"), **given)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 50), st.integers(0, 50))
def test_noise_of_an_index_does_not_depend_on_what_else_is_drawn(seed, count, more):
    few, many = colour_noise(seed, "train", count), colour_noise(seed, "train", count + more)
    np.testing.assert_array_equal(few, many[:count])
    assert not np.array_equal(few, colour_noise(seed, "test", count))
    assert not np.array_equal(few, colour_noise(seed + 1, "train", count))


def test_noise_is_standard_normal():
    draws = colour_noise(0, "train", 100_000)
    assert draws.dtype == np.float32
    assert np.abs(draws.mean(0)).max() < 0.02
    assert np.abs(np.cov(draws.T) - np.eye(3)).max() < 0.02


@pytest.mark.parametrize("kind", ["foreground", "background"])
def test_order_and_subset_of_a_bias(kind):
    images, attributes, _ = grey_batch(1, 30)
    made = bias.build({"kind": kind, "severity": 1})
    context = bias.Context("train", 0.5, seed=3)
    index = np.arange(30)
    whole = made.apply(images, attributes, index, context)
    rows = np.array([29, 4, 11])
    part = made.apply(images[rows], attributes[rows], index[rows], context)
    np.testing.assert_array_equal(whole[rows], part)
    plain = bias.build({"kind": kind, "severity": 1, "noise": "none"})
    expected = colorize(images, attributes, severity=1, noise=np.zeros((30, 3)), where=kind)
    np.testing.assert_array_equal(plain.apply(images, attributes, index, context), expected)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"kind": "foregroud", "severity": 1}, "unknown bias kind 'foregroud'.*Did you mean 'foreground'"),
        ({"kind": "foreground", "severty": 1}, "unknown option of bias 'foreground' 'severty'.*'severity'"),
        ({"kind": "foreground"}, "needs the option 'severity'"),
        ({"kind": "background", "severity": 0}, "one of 1, 2, 3, 4, 5"),
        ({"kind": "background", "severity": 1, "noise": "per_idex"}, "Did you mean 'per_index'"),
        ({"kind": "foreground", "severity": 1, "assignment": "shufled"}, "Did you mean 'shuffled'"),
        ({"kind": "corruption", "severity": 1, "assignment": "shufled"}, "Did you mean 'shuffled'"),
        ({"severity": 1}, "needs a kind"),
    ],
)
def test_wrong_settings_of_a_bias(settings_, message):
    with pytest.raises(DdbiasError, match=message):
        bias.build(settings_)


@pytest.mark.parametrize(("ratio", "expected"), [(0.0, 0.0), (0.1, 0.1), (1.0, 1.0)])
def test_a_classifier_that_reads_only_the_colour(ratio, expected):
    part = sources.load({"kind": "digits"}, data={})["test"]
    attributes = assign_attributes(part.labels, ratio, 10)
    made = bias.build({"kind": "foreground", "severity": 4})
    images = made.apply(part.images, attributes, np.arange(len(part)), bias.Context("test", ratio))
    tint = images.sum((2, 3)) / part.images.sum((2, 3))
    predicted = np.linalg.norm(tint[:, None] - COLOURS, axis=2).argmin(1)
    assert np.mean(predicted == part.labels) == pytest.approx(expected, abs=0.005)
