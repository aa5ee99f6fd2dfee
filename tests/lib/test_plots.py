import importlib
import io
import itertools

import matplotlib as mpl
import numpy as np
import pytest
import torch
from ddbias import store
from ddbias.errors import DdbiasError
from ddbias.plots import PLOTS, plot, style
from ddbias.plots import accuracy as accuracy_plot
from ddbias.plots import datasets as datasets_plot
from ddbias.plots import images as images_plot
from ddbias.plots import weights as weights_plot
from PIL import Image
from sklearn.datasets import load_digits

MEAN, STD = [0.2, 0.3, 0.1], [0.3, 0.25, 0.2]
NAMES = [str(i) for i in range(10)]


def evaluation(path, values, *, debias="kde", ratio="0.95", distiller="dm", ipc="10", seed=0):
    n = len(values)
    cell = {"study": "digits", "scale": "quick", "dataset": "digits", "ratio": ratio, "distiller": distiller}
    cell |= {"debias": debias, "ipc": ipc, "seed": seed, "evaluation": "convnet", "metric": "unbiased_accuracy"}
    columns = {**{k: [v] * n for k, v in cell.items()}, "repeat": list(range(n)), "value": list(values)}
    store.write_table(path, {**columns, "support": [360] * n}, {"convention": "balanced"})
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Three seeds of three networks, weights of three seeds, a split of digits and two sets made from it."""
    folder, rng = tmp_path_factory.mktemp("results"), np.random.default_rng(0)
    made = {"evaluations": [], "weights": [], "datasets": [], "distilled": []}
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
        path = folder / f"{debias}.safetensors"
        store.write_tensors(path, tensors, {"kind": "distilled", **meta, **cell})
        made["distilled"].append(path)
    for seed in range(3):
        weight = np.exp(rng.normal(0, 0.4, len(labels)) + 2 * (attributes != labels))
        table = {"index": np.arange(len(labels)), "label": labels, "attribute": attributes, "weight": weight}
        cell = {"dataset": "digits", "ratio": "0.95", "debias": "kde", "seed": seed}
        path = folder / f"weights{seed}.parquet"
        store.write_table(path, table, {**cell, "auc": 0.9 + 0.03 * seed, "conflicting_share": 0.25})
        made["weights"].append(path)
    return made


@pytest.mark.parametrize("kind", PLOTS)
def test_both_formats_are_whole_and_reproducible(kind, files, tmp_path):
    for run in ("a", "b"):
        outputs = {form: tmp_path / run / f"figure.{form}" for form in ("png", "svg")}
        plot(kind=kind, outputs=outputs, **files)
    for form in ("png", "svg"):
        first, second = ((tmp_path / run / f"figure.{form}").read_bytes() for run in ("a", "b"))
        assert first == second
    assert b"<dc:date>" not in second
    with Image.open(tmp_path / "a" / "figure.png") as image:
        assert round(image.info["dpi"][0]) == 150
        assert np.asarray(image.convert("L")).std() > 5, "the figure is blank"


@pytest.mark.parametrize("kind", PLOTS)
def test_no_text_is_cut_at_the_edge(kind, files, tmp_path):
    with mpl.rc_context(style.rc()):
        figure = importlib.import_module(f"ddbias.plots.{PLOTS[kind]}").draw(settings={}, **files)
        figure.savefig(io.BytesIO(), format="png", dpi=150)
        box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= -0.01
    assert box.y0 >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01


@pytest.mark.parametrize("kind", PLOTS)
def test_without_finished_runs_the_figure_says_so(kind, tmp_path):
    missing = [tmp_path / "later"]
    outputs = {"png": tmp_path / "f.png"}
    plot(kind=kind, outputs=outputs, evaluations=missing, weights=missing, datasets=missing, distilled=missing)
    figure = importlib.import_module(f"ddbias.plots.{PLOTS[kind]}").draw(
        evaluations=[], weights=[], datasets=[], distilled=[], settings={}
    )
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
    assert (low, high) == pytest.approx((percent.mean() - percent.std(), percent.mean() + percent.std()))


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
