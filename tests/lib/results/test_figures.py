import copy
import io
import itertools
import warnings

import matplotlib as mpl
import numpy as np
import pytest
import torch
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.results.figures import FILES, names, plot, style
from ddbias.results.figures import accuracy as accuracy_plot
from ddbias.results.figures import amplification as amplification_plot
from ddbias.results.figures import cost as cost_plot
from ddbias.results.figures import curves as curves_plot
from ddbias.results.figures import datasets as datasets_plot
from ddbias.results.figures import embedding as embedding_plot
from ddbias.results.figures import heatmap as heatmap_plot
from ddbias.results.figures import images as images_plot
from ddbias.results.figures import surrogate as surrogate_plot
from ddbias.results.figures import weights as weights_plot
from matplotlib import font_manager
from PIL import Image
from scipy import stats
from sklearn.datasets import load_digits

pytestmark = pytest.mark.slow
MEAN, STD = [0.2, 0.3, 0.1], [0.3, 0.25, 0.2]
NAMES = [str(i) for i in range(10)]
KERNELS = {  # the last one was not evaluated
    f"kde_v{i}t{k}": [variance, temperature]
    for i, variance in enumerate((0.001, 0.01, 0.1))
    for k, temperature in enumerate((0.5, 1, 2))
}
SETTINGS = {"embedding": {"samples": 250}, "heatmap": {"kernels": KERNELS}}


def rows(*places, metric="unbiased_accuracy", debias=("uniform", "kde"), **cell):
    """What a study says about the points of a figure with an axis of ratios or of images per class."""
    base = {"dataset": "digits", "ratio": "0.95", "distiller": "dm", "ipc": "10", "evaluation": "convnet"}
    return [{**base, "debias": name, **cell, **place, "metric": metric} for name in debias for place in places]


SETTINGS["against_ratio"] = {
    "kind": "against_ratio",
    "metric": "unbiased_accuracy",
    "rows": rows({"ratio": "0.8"}, {"ratio": "0.95"}, {"ratio": "1"}),
}
SPLIT = ("unbiased_size_amplification", "unbiased_distillation_amplification")
SETTINGS["amplification"] = {"metric": "unbiased_amplification", "rows": []}
for part, (cell, metric) in enumerate(itertools.product(rows({}), SPLIT)):
    other = {**cell, "ratio": "0.8"}
    terms = {"distilled": cell, "random": cell, "distilled_unbiased": other, "random_unbiased": cell}
    terms |= {"whole": other, "whole_unbiased": cell} if part % 2 == 0 else {}
    SETTINGS["amplification"]["rows"].append({**cell, "metric": metric, "terms": terms})
SETTINGS["against_ipc"] = {**SETTINGS["against_ratio"], "kind": "against_ipc", "rows": rows({"ipc": "10"})}


def evaluation(
    path, values, *, debias="kde", ratio="0.95", distiller="dm", ipc="10", seed=0, converged=None, diverged=(), **meta
):
    n = len(values)
    cell = {"study": "digits", "scale": "quick", "dataset": "digits", "ratio": ratio, "distiller": distiller}
    cell |= {"debias": debias, "ipc": ipc, "seed": seed, "evaluation": "convnet", "metric": "unbiased_accuracy"}
    columns = {**{k: [v] * n for k, v in cell.items()}, "repeat": list(range(n)), "value": list(values)}
    confidence = [None if network in diverged else [] for network in range(n)]
    meta = {"convention": "balanced", "distillation": {"converged": converged}, "confidence": confidence, **meta}
    store.write_table(path, {**columns, "support": [360] * n}, meta)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three seeds of three networks, weights of three seeds, surrogates, a split of digits and two sets from it."""
    folder, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(0)
    made = {name: [] for name in FILES}
    for ratio, debias, seed in ((r, d, s) for r in ("0.8", "0.95") for d in ("uniform", "kde") for s in range(3)):
        path = folder / f"{ratio}{debias}{seed}.parquet"
        made["evaluations"].append(evaluation(path, rng.uniform(0.4, 0.9, 3), ratio=ratio, debias=debias, seed=seed))
    digits = load_digits()
    pixels = np.repeat(digits.images[:, None] * 15, 3, axis=1).astype(np.uint8)
    labels = digits.target.astype(np.int64)
    attributes = np.where(rng.random(len(labels)) < 0.05, (labels + 3) % 10, labels)
    meta = {"label_names": NAMES, "attribute_names": NAMES, "mean": MEAN, "std": STD, "shape": [3, 8, 8]}
    columns = {"image": store.fixed_size_binary(pixels), "label": labels, "index": np.arange(len(labels))}
    store.write_arrow(folder / "train.arrow", {**columns, "attribute": attributes}, meta)
    made["datasets"].append(folder / "train.arrow")
    chosen = np.concatenate([np.flatnonzero(labels == k)[:2] for k in range(10)])
    images = (pixels[chosen] / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    for debias in ("uniform", "kde"):
        cell = {"dataset": "digits", "ratio": "0.95", "distiller": "dm", "debias": debias, "ipc": "2", "seed": 0}
        tensors = {"images": torch.tensor(images, dtype=torch.float32), "labels": torch.tensor(labels[chosen])}
        path = folder / debias / "distilled.safetensors"
        store.write_tensors(path, tensors, {"kind": "distilled", **meta, **cell})
        store.write_json(path.with_name("run.json"), {"seconds": 12.5, "peak_memory_mb": 400.0})
        made["distilled"].append(path)
    for seed in range(3):
        weight = np.exp(rng.normal(0, 0.4, len(labels)) + 2 * (attributes != labels))
        table = {"index": np.arange(len(labels)), "label": labels, "attribute": attributes, "weight": weight}
        cell = {"dataset": "digits", "ratio": "0.95", "debias": "kde", "seed": seed}
        path = folder / f"weights{seed}.parquet"
        store.write_table(path, table, {**cell, "auc": 0.9 + 0.03 * seed, "conflicting_share": 0.25})
        made["weights"].append(path)
    made["histories"] = [
        history(folder / "digits" / ratio / name, height=height, seed=seed)
        for ratio in ("0.8", "0.95")
        for seed, (name, height) in enumerate({"supcon": 1.0, "generalised_ce": 0.7, "cross_entropy": 0.3}.items())
    ]
    path = folder / "digits" / "0.95" / "supcon" / "seed0" / "embeddings.arrow"
    made["embeddings"].append(embeddings(path, digits.data, labels, attributes))
    for i, debias in enumerate(list(KERNELS)[:-1]):
        path = folder / f"{debias}.parquet"
        made["evaluations"].append(evaluation(path, 0.5 + 0.03 * i + rng.normal(0, 0.02, 3), debias=debias))
    return made


def history(folder, *, height=1.0, seed=0, known=True, steps=120):
    """A separation that rises and decays as the labels are learnt, and an AUC that follows it."""
    rng, step = np.random.default_rng(seed), np.arange(1, steps + 1)
    shape = height * (step / 30) * np.exp(1 - step / 30) + rng.normal(0, 0.01, steps)
    measured = step % 10 == 0
    columns = {
        "step": step,
        "loss": 5 * np.exp(-step / 40) + 0.2,
        "separation": np.where(measured, 0.1 + shape, np.nan),
        "auc": np.where(measured & known, 0.5 + 0.45 * np.clip(shape, 0, 1), np.nan),
        "conflicting_share": np.where(measured & known, 0.05 + 0.7 * np.clip(shape, 0, 1), np.nan),
    }
    store.write_table(folder / "seed0" / "history.parquet", columns, {"seed": 0})
    return folder / "seed0" / "history.parquet"


def embeddings(path, features, labels, attributes=None):
    """The features, moved along by the attribute, on the unit sphere."""
    shift = np.random.default_rng(3).normal(0, 12, (10, features.shape[1]))
    moved = features + shift[labels if attributes is None else attributes]
    unit = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    columns = {"embedding": store.fixed_size_binary(unit), "index": np.arange(len(labels)), "label": labels}
    columns |= {} if attributes is None else {"attribute": attributes}
    store.write_arrow(path, columns, {"dimensions": unit.shape[1]})
    return path


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn while it is asked for: the figures that `plot` saved, which it gives to nobody."""
    figures, write = [], names.write
    monkeypatch.setattr(names, "write", lambda figure: figures.append(figure) or write(figure))
    return figures


def has_room(figure):
    """Whether nothing is cut at the edge of a figure."""
    with mpl.rc_context(style.rc()):
        figure.draw_without_rendering()  # lays it out for the resolution at which it is measured
        box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    return min(box.x0, box.y0) >= -0.01 and box.x1 <= width + 0.01 and box.y1 <= height + 0.01


@pytest.mark.parametrize("kind", plugins.kinds("figure"))
def test_both_formats_are_whole_and_reproducible(kind, files, tmp_path, drawn):
    for run in ("a", "b"):
        outputs = {form: tmp_path / run / f"figure.{form}" for form in ("png", "svg")}
        plot(kind=kind, outputs=outputs, settings=SETTINGS.get(kind), **files)
    for form in outputs:
        first, second = ((tmp_path / run / f"figure.{form}").read_bytes() for run in ("a", "b"))
        assert first == second
        assert b"<dc:date>" not in second
    with Image.open(tmp_path / "a" / "figure.png") as image:
        assert round(image.info["dpi"][0]) == 150
        assert np.asarray(image.convert("L")).std() > 5, "the figure is blank"
    assert has_room(drawn[0]), "text is cut at the edge"


@pytest.mark.parametrize("kind", plugins.kinds("figure"))
def test_without_finished_runs_the_figure_says_so(kind, tmp_path):
    missing = [tmp_path / "later"]
    outputs = {"png": tmp_path / "f.png"}
    plot(kind=kind, outputs=outputs, settings=SETTINGS.get(kind), **dict.fromkeys(FILES, missing))
    draw = plugins.module("figure", kind).draw
    figure = draw(settings=SETTINGS.get(kind, {}), **{name: [] for name in FILES})
    assert "none of the runs" in figure.texts[0].get_text()
    assert outputs["png"].is_file()


def test_drawing_leaves_global_state_alone(files, tmp_path):
    before, state = dict(mpl.rcParams), np.random.get_state()[1].copy()  # noqa: NPY002 (the global one is the subject)
    plot(kind="accuracy", outputs={"png": tmp_path / "f.png"}, evaluations=files["evaluations"])
    assert dict(mpl.rcParams) == before
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_unknown_kind_and_format_are_one_line(tmp_path):
    with pytest.raises(DdbiasError, match=r"unknown figure kind 'accurcy'.*Did you mean 'accuracy'"):
        plot(kind="accurcy", outputs={"png": tmp_path / "f.png"})
    with pytest.raises(DdbiasError, match="unknown figure format 'pdf'"):
        plot(kind="accuracy", outputs={"pdf": tmp_path / "f.pdf"})


def test_accuracy_shows_every_network_and_the_mean(tmp_path):
    values = [[0.5, 0.6, 0.7], [0.55, 0.65, 0.9], [0.4, 0.45, 0.5]]
    paths = [evaluation(tmp_path / f"{s}.parquet", v, seed=s) for s, v in enumerate(values)]
    figure = accuracy_plot.draw(evaluations=paths, settings={})
    (axis,) = figure.axes
    dots = np.concatenate([c.get_offsets()[:, 1] for c in axis.collections if len(c.get_offsets()) > 1])
    percent = 100 * np.ravel(values)
    assert sorted(dots) == pytest.approx(sorted(percent))
    (container,) = axis.containers
    data, _, bars = container.lines
    assert data.get_ydata() == pytest.approx([percent.mean()])
    low, high = bars[0].get_segments()[0][:, 1]
    means = 100 * np.mean(values, axis=1)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, loc=means.mean(), scale=stats.sem(means)))
    (lone,) = accuracy_plot.draw(evaluations=paths[:1], settings={}).axes[0].containers
    assert not lone.has_yerr  # one seed has no interval


def test_accuracy_panels_go_up_with_the_ratio(tmp_path):
    ratios = ["natural", "0.95", "0.5", "1"]
    paths = [evaluation(tmp_path / r, [0.5, 0.6], ratio=r) for r in ratios]
    figure = accuracy_plot.draw(evaluations=paths, settings={})
    assert [a.get_title() for a in figure.axes] == ["ratio 0.5", "ratio 0.95", "ratio 1", "ratio natural"]


def test_points_of_one_slot_do_not_overlap(tmp_path):
    names = ["uniform", "kde", "fairdd", "mine", "yours"]
    paths = [evaluation(tmp_path / n, [0.5, 0.6, 0.7], debias=n) for n in names]
    (axis,) = accuracy_plot.draw(evaluations=paths, settings={}).axes
    spans = sorted(
        (c.get_offsets()[:, 0].min(), c.get_offsets()[:, 0].max()) for c in axis.collections if len(c.get_offsets()) > 1
    )
    assert len(spans) == len(names)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    assert spans[0][0] > -0.5
    assert spans[-1][1] < 0.5


def test_a_debias_looks_the_same_everywhere_and_different_from_others():
    alone = style.debias_styles(["kde"])["kde"]
    many = style.debias_styles(["zeta", "kde", "uniform", *(f"kde_t{i}" for i in range(20))])
    assert many["kde"] == alone
    assert len({(look["color"], look["marker"]) for look in many.values()}) == len(many)
    # In grey, the marker alone separates the named methods.
    known = style.debias_styles(style.KNOWN)
    assert len({look["marker"] for look in known.values()}) == len(known)


def test_weights_are_shares_of_their_own_group(files):
    (axis,) = weights_plot.draw(weights=files["weights"], settings={"bins": 20}).axes
    assert "AUC 0.93" in axis.get_title()
    assert "25.0%" in axis.get_title()
    for patch in axis.patches:
        top = patch.get_xy()[:, 1]
        assert top.sum() / 2 == pytest.approx(100, rel=1e-6)  # the outline has every bar's height twice


def test_weights_of_an_unknown_attribute_are_one_group(tmp_path):
    path = tmp_path / "w.parquet"
    meta = {"dataset": "d", "ratio": "natural", "debias": "kde", "seed": 0, "auc": None, "conflicting_share": None}
    store.write_table(path, {"label": [0, 1, 1], "weight": [1.0, 1.5, 0.5]}, meta)
    (axis,) = weights_plot.draw(weights=[path], settings={}).axes
    assert [p.get_label() for p in axis.patches] == ["all samples (attribute unknown)"]
    assert "AUC" not in axis.get_title()


def test_a_foreign_weights_file_is_one_line(tmp_path):
    store.write_table(tmp_path / "w.parquet", {"label": [0]}, {"dataset": "d"})
    with pytest.raises(DdbiasError, match="lacks weight, ratio, debias"):
        weights_plot.draw(weights=[tmp_path / "w.parquet"], settings={})


def test_separation_and_auc_are_drawn_where_they_were_measured(tmp_path):
    paths = [history(tmp_path / "d" / ratio / name, height=h, seed=1) for ratio in ("0.95", "0.5") for name, h in
             (("supcon", 1.0), ("lff", 0.5))]  # fmt: skip
    figure = surrogate_plot.draw(histories=paths, settings={})
    above, below, share = figure.axes[:2], figure.axes[2:4], figure.axes[4:]
    assert [axis.get_title() for axis in above] == ["ratio 0.5", "ratio 0.95"]
    table = store.read_table(paths[0])[0].to_pandas().dropna()
    for axis, column in ((above[1], "separation"), (below[1], "auc"), (share[1], "conflicting_share")):
        lines = [line for line in axis.lines if len(line.get_xdata()) == len(table)]
        np.testing.assert_array_equal(lines[0].get_xdata(), np.arange(10, 121, 10))
        np.testing.assert_allclose(lines[0].get_ydata(), table[column])
        best = next(line for line in axis.lines if line.get_markersize() == 8 and len(line.get_xdata()) == 1)
        assert best.get_xdata()[0] == table["step"][table["separation"].idxmax()]
    looks = [
        (line.get_linestyle(), line.get_marker()) for line in above[1].lines if len(line.get_xdata()) == len(table)
    ]
    assert len(looks) == 2
    assert all(a != b for a, b in zip(*looks, strict=True))  # in grey, too


def test_surrogates_without_known_attribute_have_no_auc(tmp_path):
    known = history(tmp_path / "d" / "0.9" / "a")
    unknown = history(tmp_path / "d" / "natural" / "a", known=False)
    (axis,) = surrogate_plot.draw(histories=[unknown], settings={}).axes
    assert axis.get_ylabel().startswith("separation")
    both = surrogate_plot.draw(histories=[unknown, known], settings={})
    assert [axis.get_title() for axis in both.axes[:2]] == ["ratio 0.9", "ratio natural"]
    assert "attribute unknown, or none is paired" in [text.get_text() for text in both.axes[3].texts]


def test_an_embedding_is_a_map_of_a_fixed_choice(tmp_path):
    """Three clusters; of the second class a third lies in the third cluster, and these are the conflicting ones."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(3), 60)
    attributes = np.where((labels == 1) & (np.arange(180) % 3 == 0), 2, labels)
    features = 8 * np.eye(3)[attributes] + rng.normal(0, 0.3, (180, 3))
    path = embeddings(tmp_path / "d" / "0.9" / "supcon" / "seed4" / "embeddings.arrow", features, labels, attributes)
    figure = embedding_plot.draw(embeddings=[path], datasets=[], settings={"samples": 120})
    by_label, by_conflict = figure.axes
    places = np.concatenate([np.asarray(part.get_offsets()) for part in by_label.collections])
    aligned, conflicting = (np.asarray(part.get_offsets()) for part in by_conflict.collections)
    assert len(places) == len(aligned) + len(conflicting) == 120
    assert sorted(map(tuple, places)) == sorted(map(tuple, np.concatenate([aligned, conflicting])))
    chosen = embedding_plot._choice(180, 120)
    assert len(conflicting) == (attributes != labels)[chosen].sum()
    third = np.asarray(by_label.collections[2].get_offsets())
    first = np.asarray(by_label.collections[0].get_offsets())
    distance = {name: np.linalg.norm(conflicting[:, None] - group, axis=2).min(1).max() for name, group in
                (("first", first), ("third", third))}  # fmt: skip
    assert distance["third"] < distance["first"]
    assert [text.get_text() for text in by_label.texts] == ["0", "1", "2"]
    assert "d, ratio 0.9, supcon, seed 4, 120 samples" in figure.get_suptitle()


def test_an_embedding_without_attributes_has_one_panel_and_class_names(tmp_path, files):
    labels = np.arange(40) % 2
    features = np.random.default_rng(0).normal(size=(40, 5))
    path = embeddings(tmp_path / "d" / "natural" / "a" / "seed0" / "embeddings.arrow", features, labels)
    columns = {"image": store.fixed_size_binary(np.zeros((2, 4), np.uint8)), "label": np.arange(2)}
    store.write_arrow(tmp_path / "train.arrow", columns, {"label_names": ["cat", "dog"]})
    (axis,) = embedding_plot.draw(embeddings=[path], datasets=[tmp_path / "train.arrow"], settings={}).axes
    assert [text.get_text() for text in axis.texts] == ["cat", "dog"]


def test_a_heatmap_holds_mean_and_interval_where_its_kernels_are(tmp_path):
    values = {"a": [0.5, 0.6], "b": [0.7, 0.72], "c": [0.2]}
    kernels = {"a": [0.1, 2], "b": [0.01, 0.5], "c": [0.1, 0.5], "later": [0.01, 2]}
    paths = [evaluation(tmp_path / name, numbers, debias=name) for name, numbers in values.items()]
    paths += [evaluation(tmp_path / "a again", [0.1], debias="a", seed=1, converged=False)]
    paths += [evaluation(tmp_path / "uniform", [0.9], debias="uniform")]
    figure = heatmap_plot.draw(evaluations=paths, settings={"kernels": kernels})
    axis, scale = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0.5", "2"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0.01", "0.1"]
    shown = np.ma.filled(axis.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shown, [[71, np.nan], [20, 32.5]])
    half = stats.t.ppf(0.975, 1) * stats.sem([55, 10])
    assert [text.get_text() for text in axis.texts] == ["71.0", "20.0", f"32.5 †\n±{half:.1f}"]
    assert "† not converged" in figure.get_suptitle()
    assert len(axis.patches) == 1  # what was not evaluated is hatched
    assert scale.get_ylim() == (20, 71)


def test_curves_are_the_means_over_an_even_axis_with_gaps(tmp_path):
    """Nothing was run at .99: the line of uniform is broken there, and the whole set is there once."""
    values = {"0.1": (0.9, 0.92), "0.95": (0.5, 0.56), "1": (0.1,)}
    paths = [evaluation(tmp_path / ratio, v, ratio=ratio, debias="uniform") for ratio, v in values.items()]
    paths.append(evaluation(tmp_path / "s", (0.93,), ratio="0.1", debias="uniform", seed=1))
    paths.append(evaluation(tmp_path / "w", (0.8,), debias="uniform", distiller="whole", ipc="all"))
    shown = rows(*({"ratio": ratio} for ratio in ("1", "0.95", "0.99", "0.1")), debias=["uniform"])
    shown += rows({"ratio": "0.95", "distiller": "whole", "ipc": "all"}, debias=["uniform"])
    settings = {"kind": "against_ratio", "metric": "unbiased_accuracy", "rows": shown}
    axis = curves_plot.draw(evaluations=paths, settings=settings).axes[0]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["0.1", "0.95", "1"]
    line, whole = (container.lines[0] for container in axis.containers)
    np.testing.assert_allclose(line.get_ydata(), [92, 53, 10])
    np.testing.assert_allclose(whole.get_ydata(), [np.nan, 80, np.nan])
    (bars,) = axis.containers[0].lines[2]
    first, *others = bars.get_segments()
    half = stats.t.ppf(0.975, 1) * stats.sem([91, 93])
    assert first[1, 1] - first[0, 1] == pytest.approx(2 * half)
    assert not any(segment.size for segment in others)  # those cells have one seed


@pytest.mark.parametrize("kind", ["against_ratio", "against_ipc"])
def test_whole_sets_of_several_lengths_are_lines_of_their_own(tmp_path, kind):
    paths = [evaluation(tmp_path / "dm", (0.5,), debias="uniform")]
    shown = rows({}, debias=["uniform"])
    for name, value in (("short", 0.8), ("long", 0.9)):
        paths.append(evaluation(tmp_path / name, (value,), debias="uniform", distiller=name, ipc="all"))
        shown += rows({"distiller": name, "ipc": "all"}, debias=["uniform"])
    settings = {"kind": kind, "metric": "unbiased_accuracy", "rows": shown}
    axis = curves_plot.draw(evaluations=paths, settings=settings).axes[0]
    handles, labels = axis.get_legend_handles_labels()
    lines = {label: getattr(handle, "lines", [handle])[0] for handle, label in zip(handles, labels, strict=True)}
    for name, value in (("short", 80), ("long", 90)):
        np.testing.assert_allclose(lines[f"whole training set, {name}"].get_ydata(), value)
    assert len(lines) == 3


def test_costs_are_those_of_the_sets(tmp_path):
    """Two seeds of 10 and 30 seconds, one of the processor, and random images of no time at all."""
    sets, results = [], []
    ran = {0: {}, 1: {"device": "cpu AVX2", "processor_seconds": 30.0}}
    for name, seed, seconds in (("dm", 0, 10.0), ("dm", 1, 30.0), ("random", 0, 0.0)):
        cell = {"dataset": "digits", "ratio": "0.95", "distiller": name, "debias": "kde", "ipc": "10", "seed": seed}
        sets.append(tmp_path / f"{name}{seed}" / "distilled.safetensors")
        store.write_tensors(sets[-1], {"labels": torch.zeros(1)}, cell)
        facts = {"seconds": 90.0 if ran[seed] else seconds, "peak_memory_mb": 100.0} | ran[seed]
        store.write_json(sets[-1].with_name("run.json"), facts)
        value = (0.5 + 0.2 * seed,)
        results.append(evaluation(tmp_path / f"{name}{seed}.parquet", value, distiller=name, seed=seed))
    axes = cost_plot.draw(evaluations=results, distilled=sets, settings={}).axes
    shown = {text.get_text(): text.xy for text in axes[0].texts}
    assert shown["dm"] == pytest.approx((20, 60))
    assert shown["random"] == pytest.approx((0.01, 50))
    assert {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes[1].lines} == {(100.0, 60.0), (100.0, 50.0)}


def test_amplification_is_drawn_from_its_cells(tmp_path):
    parts = {"distilled": 0.5, "distilled_unbiased": 0.8, "whole": 0.9, "whole_unbiased": 0.95}
    paths = [evaluation(tmp_path / part, (value,), distiller=part) for part, value in parts.items()]
    (base,) = rows({}, debias=["kde"])
    terms = {part: {**base, "distiller": part} for part in parts}
    settings = {"kind": "against_ipc", "metric": "unbiased_amplification"}
    settings["rows"] = [{**base, "metric": "unbiased_amplification", "terms": terms}]
    axis = curves_plot.draw(evaluations=paths, settings=settings).axes[0]
    np.testing.assert_allclose(axis.containers[0].lines[0].get_ydata(), [25])
    assert axis.get_ylabel() == "unbiased amplification (points)"


def test_the_parts_of_an_amplification_are_bars_to_either_side(tmp_path):
    """A random set loses 40 points and the whole one 10; the distilled one 55 with two seeds, 35 with kde."""
    losses = {"random": (0.4,), "whole": (0.1,), "dm": (0.5, 0.6), "kde": (0.35,)}
    paths = [
        evaluation(tmp_path / f"{name}{ratio}{seed}", [value], distiller=name, ratio=ratio, seed=seed, converged=known)
        for name, values in losses.items()
        for seed in (0, 1)
        for ratio, value, known in (("0.95", 0.9 - values[seed % len(values)], name != "kde"), ("0.1", 0.9, True))
    ]
    shown = []
    for debias, ipc in (("uniform", "10"), ("kde", "10"), ("later", "50")):
        (cell,) = rows({"ipc": ipc}, debias=[debias])
        for metric in SPLIT:
            parts = ("random", "whole") if "size" in metric else ("dm" if debias == "uniform" else debias, "random")
            roles = ("random", "whole") if "size" in metric else ("distilled", "random")
            terms = {}
            for role, name in zip(roles, parts, strict=True):
                terms[role] = {**cell, "debias": "kde", "ipc": "10", "distiller": name, "metric": "unbiased_accuracy"}
                terms[f"{role}_unbiased"] = {**terms[role], "ratio": "0.1"}
            shown.append({**cell, "metric": metric, "terms": terms})
    figure = amplification_plot.draw(evaluations=paths, settings={"metric": "unbiased_amplification", "rows": shown})
    (axis,) = figure.axes
    size, distillation = (container for container in axis.containers if hasattr(container, "patches"))
    np.testing.assert_allclose([bar.get_width() for bar in size], [30, 30])
    np.testing.assert_allclose([bar.get_width() for bar in distillation], [15, -5])
    (lines,) = distillation.errorbar.lines[2]
    lengths = [segment[1, 0] - segment[0, 0] for segment in lines.get_segments()]
    np.testing.assert_allclose(lengths, [2 * stats.t.ppf(0.975, 1) * stats.sem([10, 20]), 0], atol=1e-9)
    labels = [text.get_text() for text in axis.get_yticklabels()]
    assert labels == ["dm, uniform\ntogether +45.0", "dm, kde †\ntogether +25.0"]
    assert "† not converged" in figure.get_suptitle()


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        # A seed without a whole set counts for neither part, so that the bars add up to 50 - 10 of seed 0.
        ({"random": {0: 0.4, 1: 0.1}, "whole": {0: 0.1}, "dm": {0: 0.5, 1: 0.9}}, ["dm, uniform\ntogether +40.0"]),
        # The size part is known of seed 0, that of distillation of seed 1: their sum is the amplification of no seed.
        ({"random": {0: 0.4, 1: 0.1}, "whole": {0: 0.1}, "dm": {1: 0.8}}, []),
    ],
)
def test_both_parts_of_an_amplification_are_over_the_same_seeds(tmp_path, losses, said):
    paths = [
        evaluation(tmp_path / f"{name}{ratio}{seed}", [value], distiller=name, ratio=ratio, seed=seed)
        for name, values in losses.items()
        for seed, loss in values.items()
        for ratio, value in (("0.95", 0.9 - loss), ("0.1", 0.9))
    ]
    (cell,), shown = rows({}, debias=["uniform"]), []
    for metric, sets in zip(SPLIT, (("random", "whole"), ("distilled", "random")), strict=True):
        terms = {}
        for role in sets:
            name = "dm" if role == "distilled" else role
            terms[role] = {**cell, "debias": "kde", "distiller": name}
            terms[f"{role}_unbiased"] = {**terms[role], "ratio": "0.1"}
        shown.append({**cell, "metric": metric, "terms": terms})
    figure = amplification_plot.draw(evaluations=paths, settings={"metric": "unbiased_amplification", "rows": shown})
    labels = [text.get_text() for axis in figure.axes for text in axis.get_yticklabels()]
    assert [label for label in labels if "together" in label] == said


@pytest.mark.parametrize("kind", ["accuracy", "against_ipc", "cost"])
def test_points_of_sets_that_have_not_converged_are_hollow(kind, tmp_path):
    known = {"uniform": False, "kde": True}
    paths = [evaluation(tmp_path / n, [0.5, 0.6], debias=n, converged=done) for n, done in known.items()]
    sets = []
    for name in known:
        cell = {"dataset": "digits", "ratio": "0.95", "distiller": "dm", "debias": name, "ipc": "10", "seed": 0}
        sets.append(tmp_path / f"{name}_set" / "distilled.safetensors")
        store.write_tensors(sets[-1], {"labels": torch.zeros(1)}, cell)
        store.write_json(sets[-1].with_name("run.json"), {"seconds": 1.0, "peak_memory_mb": 100.0})
    draw = plugins.module("figure", kind).draw

    def markers(evaluations):
        figure = draw(evaluations=evaluations, distilled=sets, settings=SETTINGS.get(kind, {}))
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        drawn = [line for line in figure.axes[0].lines if len(line.get_xdata()) and line.get_markersize() >= 5]
        hollow = [line.get_marker() for line in drawn if line.get_markerfacecolor() == "white"]
        return hollow, style.HOLLOW in legend

    assert markers(paths) == (["o"], True)
    assert markers(paths[1:]) == ([], False)


def shown(figure):
    """All that is written on a figure, its legends included."""
    return "\n".join(text.get_text() for text in figure.findobj(mpl.text.Text))


def marks(figure, kind):
    """The places of the crosses of a figure, or for those of numbers what is written."""
    if kind in ("heatmap", "amplification"):
        return shown(figure).count(" ‡") - shown(figure).count(", ‡")
    crosses = [
        line for axis in figure.axes for line in axis.lines if line.get_marker() == "x" and line.get_zorder() == 5
    ]
    return sum(len(line.get_xdata()) for line in crosses)


@pytest.mark.parametrize("kind", ["accuracy", "against_ratio", "against_ipc", "amplification", "cost", "heatmap"])
def test_what_rests_on_a_network_that_diverged_is_marked(kind, files, tmp_path):
    settings = SETTINGS.get(kind, {})
    if kind == "heatmap":
        settings = {"kernels": {"kde": [1, 1], "uniform": [2, 1]}}
    for diverged, words in (((), False), ((1,), True)):
        paths = [
            evaluation(tmp_path / f"{d}.parquet", [0.5, 0.6], debias=d, diverged=diverged) for d in ("kde", "uniform")
        ]
        paths += [evaluation(tmp_path / f"{d}8.parquet", [0.5, 0.6], debias=d, ratio="0.8") for d in ("kde", "uniform")]
        given = {**files, "evaluations": paths}
        if kind == "cost":  # sets of two images per class
            given["evaluations"] = [
                evaluation(tmp_path / f"{d}c.parquet", [0.5], debias=d, ipc="2", diverged=diverged and (0,))
                for d in ("kde", "uniform")
            ]
        with mpl.rc_context(style.rc()):
            figure = plugins.module("figure", kind).draw(settings=settings, **given)
        assert ("a network diverged" in shown(figure)) is words
        assert (marks(figure, kind) > 0) is words


@pytest.mark.parametrize("kind", ["accuracy", "against_ratio", "against_ipc", "amplification", "cost", "heatmap"])
def test_a_metric_that_is_not_defined_says_why_not_that_nothing_has_finished(kind, files, tmp_path):
    counts, settings = [[[[9, 1], [2, 8]]]], SETTINGS.get(kind, {})
    made = [
        evaluation(tmp_path / f"{d}{r}.parquet", [0.5], debias=d, ratio=r, ipc=ipc, counts=counts)
        for d, r, ipc in itertools.product(("kde", "uniform", "kde_v0t0"), ("0.8", "0.95"), ("2", "10"))
    ]
    for path in made:
        table, meta = store.read_table(path)
        columns = {name: table[name].to_pylist() for name in table.column_names}
        store.write_table(path, columns | {"metric": ["accuracy"] * table.num_rows}, meta)
    with mpl.rc_context(style.rc()):
        figure = plugins.module("figure", kind).draw(settings=settings, **{**files, "evaluations": made})
    text = figure.texts[0].get_text()
    assert "is not defined here" in text
    assert "the attribute is not known" in text
    assert "none of the runs" not in text


def test_heatmaps_of_several_ratios_share_their_colours(tmp_path):
    paths = [evaluation(tmp_path / r, [v], debias="a", ratio=r) for r, v in (("0.95", 0.4), ("0.5", 0.9))]
    figure = heatmap_plot.draw(evaluations=paths, settings={"kernels": {"a": ["median", 1]}})
    assert [axis.get_title() for axis in figure.axes[:2]] == ["ratio 0.5", "ratio 0.95"]
    assert [axis.images[0].get_clim() for axis in figure.axes[:2]] == [(40, 90)] * 2
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["median"]


@pytest.mark.parametrize("kind", ["surrogate", "embedding"])
def test_a_foreign_file_of_a_surrogate_is_one_line(kind, tmp_path):
    path = tmp_path / "a" / "b" / "c" / "d" / "file"
    if kind == "surrogate":
        store.write_table(path, {"step": [1], "loss": [0.1]}, {})
        given = {"histories": [path]}
    else:
        store.write_arrow(path, {"label": np.arange(2)}, {})
        given = {"embeddings": [path]}
    with pytest.raises(
        DdbiasError, match=r"it lacks (separation, auc, conflicting_share|embedding); give another path"
    ):
        plot(kind=kind, outputs={"png": tmp_path / "f.png"}, **given)


def test_a_misspelt_list_of_files_is_refused(tmp_path):
    with pytest.raises(TypeError, match="not weigths"):
        plot(kind="weights", outputs={"png": tmp_path / "f.png"}, weigths=[])


def test_images_are_denormalised_and_placed_by_class(files):
    figure = images_plot.draw(datasets=files["datasets"], distilled=files["distilled"], settings={"rows": 1})
    labels = [axis.texts[0].get_text() for axis in figure.axes]
    assert labels == ["real,\naligned", "real,\nconflicting", "dm\nuniform", "dm\nkde"]
    data, _ = store.read_arrow(files["datasets"][0])
    raw = data["image"].reshape(-1, 3, 8, 8)
    mosaic = np.asarray(figure.axes[2].images[0].get_array())
    for label in range(10):
        first = raw[np.flatnonzero(data["label"] == label)[0]].transpose(1, 2, 0)
        left = label * (8 + images_plot.GAP)
        assert np.array_equal(mosaic[:8, left : left + 8], first)
    conflicting = np.flatnonzero((data["label"] == 4) & (data["attribute"] != 4))[0]
    left = 4 * (8 + images_plot.GAP)
    shown = np.asarray(figure.axes[1].images[0].get_array())[:8, left : left + 8]
    assert np.array_equal(shown, raw[conflicting].transpose(1, 2, 0))


def test_a_set_of_indices_has_no_picture_and_is_left_out(files, tmp_path):
    whole = tmp_path / "whole.safetensors"
    store.write_tensors(whole, {"index": torch.arange(3), "labels": torch.arange(3)}, {"kind": "distilled"})
    figure = images_plot.draw(datasets=[], distilled=[whole, files["distilled"][0]], settings={})
    assert len(figure.axes) == 1


def test_real_images_that_do_not_conflict_take_no_room(files, tmp_path):
    data, meta = store.read_arrow(files["datasets"][0])
    columns = {"image": store.fixed_size_binary(data["image"]), "label": data["label"], "attribute": data["label"]}
    store.write_arrow(tmp_path / "train.arrow", columns, meta)
    figure = images_plot.draw(datasets=[tmp_path / "train.arrow"], distilled=[], settings={})
    assert [axis.texts[0].get_text() for axis in figure.axes] == ["real,\naligned"]


def test_data_sets_show_aligned_and_conflicting_images_of_every_class(tmp_path):
    """Class c is grey 20 c where aligned and 20 c + 10 where conflicting; class 2 has no conflicting image."""
    labels = np.repeat(np.arange(3), 8)
    attributes = np.where((np.arange(24) % 8 < 2) & (labels < 2), labels + 1, labels)
    grey = 20 * labels + 10 * (attributes != labels)
    images = np.broadcast_to(grey[:, None, None, None], (24, 1, 4, 4)).astype(np.uint8)
    columns = {"image": store.fixed_size_binary(np.ascontiguousarray(images)), "label": labels, "index": np.arange(24)}
    meta = {"label_names": ["a", "b", "c"], "shape": [1, 4, 4]}
    store.write_arrow(tmp_path / "toy" / "0.8" / "train.arrow", {**columns, "attribute": attributes}, meta)
    store.write_arrow(tmp_path / "own" / "natural" / "train.arrow", columns, meta)
    paths = [tmp_path / "toy" / "0.8" / "train.arrow", tmp_path / "own" / "natural" / "train.arrow"]
    figure = datasets_plot.draw(datasets=paths, settings={})
    shown = [axis.images[0].get_array()[0, 2::5, 0].tolist() for axis in figure.axes]
    white = 255
    assert shown[0] == [0, 20, 40] * 3 + [0]
    assert shown[1] == [10, 30, white, 10, 30] + [white] * 5
    assert set(shown[2]) == {0, 10, 20, 30, 40}  # the attribute is unknown: all images at the left
    assert shown[3] == [white] * 10
    assert {text.get_text() for text in figure.texts} >= {"toy\nratio 0.8", "own\nratio natural", "conflicting"}


@pytest.mark.parametrize(
    ("attribute", "why", "of_weights"),
    [
        (False, "attribute unknown", "all samples (attribute unknown)"),
        (True, datasets_plot.UNPAIRED, "all samples (no attribute is paired)"),
    ],
)
def test_images_are_called_aligned_only_where_that_is_known(attribute, why, of_weights, tmp_path):
    label = np.arange(20) % 2
    meta = {"label_names": ["a", "b"], "shape": [1, 2, 2], "pairing": None}
    columns = {"label": label, **({"attribute": label} if attribute else {})}
    pixels = np.full((20, 1, 2, 2), 90, np.uint8)
    path = tmp_path / "mine" / "natural" / "train.arrow"
    store.write_arrow(path, {"image": store.fixed_size_binary(pixels), **columns}, meta)
    figure = datasets_plot.draw(datasets=[path], settings={})
    texts = [text.get_text() for text in figure.texts]
    assert why in texts
    assert "training images" in texts
    assert not {"aligned", "conflicting"} & set(texts)
    cell = {"dataset": "mine", "ratio": "natural", "debias": "kde", "pairing": None}
    store.write_table(tmp_path / "weights", {**columns, "weight": np.linspace(1, 2, 20)}, cell)
    (axis,) = weights_plot.draw(weights=[tmp_path / "weights"], settings={}).axes
    assert of_weights in axis.get_legend_handles_labels()[1]


HOSTILE = [
    "$0_$25k",
    "a$^$b",
    "a|b\nc",
    "<script>",
    "\x1b[31mred",
    "50%&#_{}~^\\",
    "x" * 10_000,
    "שלום",
    "猫と犬",
    "_x",
]
CELL = ("dataset", "distiller", "debias")


def nasty(name):
    return f"_$x^{name}$\x1b\n<b>"


@pytest.fixture(scope="module")
def hostile(files, tmp_path_factory):
    """The same files with other names, in the files and in the names of their folders."""
    folder, made = tmp_path_factory.mktemp("hostile"), {name: list(paths) for name, paths in files.items()}

    def renamed(meta):
        meta = meta | ({"label_names": HOSTILE, "attribute_names": HOSTILE} if "label_names" in meta else {})
        return meta | {name: nasty(meta[name]) for name in CELL if name in meta}

    for kind in ("evaluations", "weights"):
        made[kind] = []
        for number, path in enumerate(files[kind]):
            table, meta = store.read_table(path)
            columns = {name: table[name].to_pylist() for name in table.column_names}
            columns |= {name: list(map(nasty, columns[name])) for name in CELL if name in columns}
            store.write_table(folder / f"{kind}{number}", columns, renamed(meta))
            made[kind].append(folder / f"{kind}{number}")
    (train,) = files["datasets"]
    columns, meta = store.read_arrow(train)
    columns["image"] = store.fixed_size_binary(columns["image"])
    store.write_arrow(folder / "$a_$b" / "$0.9$" / "train.arrow", columns, renamed(meta))
    made["datasets"] = [folder / "$a_$b" / "$0.9$" / "train.arrow"]
    made["distilled"] = []
    for number, path in enumerate(files["distilled"]):
        tensors, meta = store.read_tensors(path)
        made["distilled"].append(folder / str(number) / "distilled.safetensors")
        store.write_tensors(made["distilled"][-1], tensors, renamed(meta) | {"ipc": "10"})
        store.write_json(made["distilled"][-1].with_name("run.json"), {"seconds": 12.5, "peak_memory_mb": 400.0})
    made["histories"] = [history(folder / "$d_$" / "0.95" / name) for name in ("_$s_$", "supcon")]
    return made


def hostile_settings(kind):
    settings = copy.deepcopy(SETTINGS.get(kind, {}))
    cells = [cell for row in settings.get("rows", []) for cell in (row, *row.get("terms", {}).values())]
    for cell in {id(cell): cell for cell in cells}.values():
        cell |= {name: nasty(cell[name]) for name in CELL}
    if "kernels" in settings:
        settings["kernels"] = {nasty(name): kernel for name, kernel in settings["kernels"].items()}
    return settings


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", plugins.kinds("figure"))
def test_names_are_text_in_figures(kind, hostile, tmp_path, drawn):
    """No formula, no character that would be obeyed, none that no font has: matplotlib warns of these."""
    outputs = {form: tmp_path / f"figure.{form}" for form in ("png", "svg")}
    plot(kind=kind, outputs=outputs, settings=hostile_settings(kind), **hostile)
    text = shown(drawn[0])
    assert "none of the runs" not in text
    assert "\x1b" not in text
    assert "$" not in text.replace(r"\$", "")
    assert has_room(drawn[0])


@pytest.mark.parametrize("kind", ["images", "embedding"])
def test_a_class_that_no_font_can_write_is_a_number(kind, hostile, tmp_path, monkeypatch):
    digits = load_digits()
    alone = embeddings(tmp_path / "mine/natural/supcon/seed0/embeddings.arrow", digits.data, digits.target)
    monkeypatch.setattr(names, "_installed", list)
    names._fallbacks.cache_clear()
    with mpl.rc_context(style.rc()):
        given = {**hostile, "embeddings": [alone]}  # of one panel, in which there is the least room
        figure = plugins.module("figure", kind).draw(settings=SETTINGS.get(kind, {}), **given)
        figure.savefig(io.BytesIO())
    words = shown(figure).split("\n")
    assert "#9" in words
    assert "שלום" in words
    assert names.NUMBERED in " ".join(words)
    note = next(text for text in figure.findobj(mpl.text.Text) if text.get_text().startswith("#: "))
    assert note.get_window_extent().x0 >= 0
    assert note.get_window_extent().x1 <= figure.bbox.width
    names._fallbacks.cache_clear()


def test_a_class_is_written_where_a_font_has_its_letters(tmp_path, monkeypatch):
    """A font among those of the system is used for what the font of all figures lacks."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder, glyph = FontBuilder(1000, isTTF=True), pen.glyph()
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    builder.setupGlyf({".notdef": glyph, "cat": glyph})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cats", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(tmp_path / "cats.ttf")
    known = list(font_manager.fontManager.ttflist)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "cats.ttf")])
    names._installed.cache_clear()
    names._fallbacks.cache_clear()
    try:
        assert names.classes(["猫", "犬", "$"]) == (["猫", "#2", r"\$"], names.NUMBERED)
        assert names.text("猫と") == "猫?"
        figure = mpl.figure.Figure()
        figure.text(0, 0, "猫 1")
        names.write(figure)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.savefig(io.BytesIO())
    finally:
        font_manager.fontManager.ttflist[:] = known
        names._installed.cache_clear()
        names._fallbacks.cache_clear()
