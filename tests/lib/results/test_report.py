import base64
import hashlib
import html.parser
import io
import re
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.debias.weights.diagnosis import diagnose
from ddbias.evaluation import protocol
from ddbias.results.report.page import build
from ddbias.results.report.pictures import PREVIEWS, curve, histogram, preview
from ddbias.results.tables.formats import Entry, Table, write_html
from PIL import Image

NASTY = '<img src=x onerror="alert(1)">&\'"'
VOID = {"meta", "img", "br", "wbr", "input", "link", "hr"}


class Page(html.parser.HTMLParser):
    """Collects elements and text, and checks that they are nested well."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.open = [], [], []
        self.feed(text)
        assert not [tag for tag in self.open if tag not in VOID]

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def distilled(folder, *, debias="kde", ratio="0.95", seed=0, images=True, run=True, distillation=None, probe=None):
    folder = folder / f"{debias.replace('/', '_')[:8]}{ratio}{seed}"
    cell = {"study": "digits", "scale": "quick", "dataset": "digits", "ratio": ratio, "distiller": "dm"}
    cell |= {"debias": debias, "ipc": "10", "seed": seed, "kind": "distilled", "label_names": ["zero", "one & up"]}
    tensors = {"labels": torch.arange(2), **({"images": torch.zeros(2, 1, 2, 2)} if images else {})}
    settings = {"distiller": {"lr": 0.1, "note": NASTY}}
    cell |= {"distillation": distillation} if distillation else {}
    store.write_tensors(
        folder / "distilled.safetensors", tensors, {**cell, "settings": settings, "provenance": {"torch": "2"}}
    )
    Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(folder / "preview.png")
    store.write_table(folder / "history.parquet", {"step": [1, 2, 3], "loss": [3.0, 2.0, 1.0]}, {})
    if run:
        facts = {"seconds": 75.25, "peak_memory_mb": 812.4, "commit": "0123456789ab+"}
        facts |= {"device": "cpu", "date": "2026-01-02T03:04:05+00:00", "command": f"snakemake {NASTY}", "host": "box"}
        facts |= {"probe": probe} if probe else {}
        store.write_json(folder / "run.json", facts)
    return folder


def evaluation(
    folder, *, name="net", debias="kde", ratio="0.95", seed=0, right=(30, 40), diverged=(), pairing="identity"
):
    """Networks that name that many of 40 samples of each of the 2 x 2 groups right."""
    counts = np.zeros((len(right), 2, 2, 2), np.int64)
    for network, hits in enumerate(right):
        for label in range(2):
            counts[network, :, label, label] = hits
            counts[network, :, label, 1 - label] = 40 - hits
    cell = {"study": "digits", "scale": "quick", "dataset": "digits", "ratio": ratio, "distiller": "dm"}
    cell |= {"debias": debias, "ipc": "10", "seed": seed, "evaluation": name}
    rows = protocol.rows(protocol.Outcome(counts, [None] * len(counts)), cell, pairing)
    path = folder / f"evaluation{len(list(folder.glob('evaluation*')))}.parquet"
    meta = {"convention": "balanced", "settings": {"epochs": 150, "note": NASTY}, "network": {"kind": "convnet"}}
    meta |= {"counts": counts.tolist(), "pairing": pairing}
    meta |= {"confidence": [None if network in diverged else [] for network in range(len(right))]}
    store.write_table(path, {key: [row[key] for row in rows] for key in rows[0]}, meta)
    return path


def weights(folder, *, debias="kde", seed=0, attribute=True, **meta):
    values, label = np.asarray([0.0, 0.5, 2.5, 1.0]), np.asarray([0, 0, 0, 1])
    conflicting = np.asarray([False, False, True, False])
    columns = {"label": label, "weight": values, **({"attribute": label ^ conflicting} if attribute else {})}
    found = diagnose(values, None, conflicting if attribute else None, label)
    meta = {"dataset": "digits", "ratio": "0.95", "debias": debias, "seed": seed, **found, **meta}
    path = folder / f"weights_{debias[:3]}{seed}.parquet"
    store.write_table(path, columns, {"surrogate": {"settings": {"epochs": 12}}, "variances": [0.25, 0.5], **meta})
    return path


def row_texts(text):
    """Texts of the cells of every set, in the order of the page."""
    without = re.sub(r"<template>.*?</template>|<wbr>", "", text, flags=re.S)
    rows = re.findall(r'<tr class="run".*?</tr>', without, re.S)
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)[1:]] for row in rows]


@pytest.fixture
def table(tmp_path):
    key = {"dataset": "digits", "ratio": "0.95", "distiller": "dm", "debias": NASTY, "ipc": "10", "evaluation": "net"}
    entry = Entry(key=key, metric="accuracy", mean=61.5, std=1.5, interval=1.5, n=9)
    path = tmp_path / "tables" / "main.html"
    write_html(path, Table(caption="Main table", scale="quick", entries=[entry], notes=["Scale quick."]))
    return path


def page(tmp_path, **changes):
    arguments = {"study": "digits", "scale": "quick", "title": "Digits", "commit": "abc123"}
    arguments |= {"tables": [], "figures": [], "distilled": [], "output": tmp_path / "report" / "index.html"}
    build(**{**arguments, **changes})
    return (tmp_path / "report" / "index.html").read_text()


def test_the_page_shows_tables_figures_and_sets(tmp_path, table):
    picture = tmp_path / "accuracy.png"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(picture)
    folders = [distilled(tmp_path, debias=debias) for debias in ("uniform", "kde")]
    evaluations = [evaluation(tmp_path, debias=debias) for debias in ("uniform", "kde")]
    text = page(tmp_path, tables=[table], figures=[picture], distilled=folders, evaluations=evaluations)
    parsed = Page(text)
    shown = " ".join(" ".join(parsed.text).split())
    for words in (
        "Digits",
        "scale",
        "quick",
        "abc123",
        "Main table",
        "61.5 ± 1.5",
        "0123456789ab with uncommitted",
        "One row per class (zero, one & up)",
    ):
        assert words in shown
    for words in ("75.2 s", "812 MB", "distiller.lr", "loss 3 → 1", "dm, uniform", "dm, kde"):
        assert words in shown
    figure, *previews = [a["src"] for a in parsed.all("img")]
    assert base64.b64decode(figure.removeprefix("data:image/png;base64,")) == picture.read_bytes()
    assert len(previews) == 2
    for address in previews:
        content = base64.b64decode(address.removeprefix("data:image/webp;base64,"))
        assert np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).ravel().tolist() == [90, 90, 90]
    assert {(a["width"], a["height"]) for a in parsed.all("img") if "width" in a} == {("4", "4")}
    assert [a["name"] for a in parsed.all("select")] == ["debias"]
    assert "yet" not in shown


def test_a_row_holds_the_means_of_every_evaluation(tmp_path):
    folders = [distilled(tmp_path, seed=seed) for seed in (0, 1, 2)]
    files = [evaluation(tmp_path, seed=0), evaluation(tmp_path, seed=0, name="vgg", right=(20,))]
    files += [evaluation(tmp_path, seed=1, right=(10, 10)), tmp_path / "later.parquet"]
    text = page(tmp_path, distilled=folders, evaluations=files)
    heads = re.findall(r'data-column="(\d+)">(.*?)</button>', text)
    means = ["accuracy", "unbiased", "conflicting", "worst group"]
    assert heads == [(str(i), name) for i, name in enumerate(["seed", *means, *means, "time"], 1)]
    groups = re.findall(r'<th scope="colgroup" class="group" colspan="4">(.*?)</th>', text)
    assert groups == ["net", "vgg"]
    assert row_texts(text) == [
        ["0", *4 * ["87.5"], *4 * ["50.0"], "75.2 s"],
        ["1", *4 * ["25.0"], *4 * ["–"], "75.2 s"],
        ["2", *8 * ["–"], "75.2 s"],
    ]
    assert "In every line: dataset digits, ratio 0.95, distiller dm, debias kde, ipc 10." in text
    shown = " ".join(" ".join(Page(text).text).split())
    for words in (
        "mean ± std networks support",
        "87.5 ± 12.5 2 160",
        "50.0 1 160",
        "conflicting accuracy 87.5 ± 12.5 2 80",
        "Not evaluated yet",
    ):
        assert words in shown
    for words in ("Test set balanced (every attribute equally often in every class)", "network.kind", "epochs 150"):
        assert words in shown


def test_a_set_says_what_diverged_and_what_is_not_defined(tmp_path):
    sets = [distilled(tmp_path), distilled(tmp_path, debias="uniform")]
    files = [evaluation(sets[0], diverged=[1], pairing=None), evaluation(sets[1], debias="uniform")]
    text = page(tmp_path, distilled=sets, evaluations=files)
    assert [row[1:3] for row in row_texts(text)] == [["87.5 ‡", "87.5 ‡"], ["87.5", "87.5"]]
    assert '<td data-value="87.5">87.5 ‡</td>' in text
    assert "‡ a network of the evaluation diverged" in text
    assert "1 of its networks diverged" in text
    paired = (
        "Not defined: aligned accuracy, conflicting accuracy, attribute accuracy: no attribute is paired with a label"
    )
    assert text.count(paired) == 1
    assert "diverged" not in page(tmp_path, distilled=sets[1:], evaluations=files[1:])


def test_a_set_says_whether_it_has_converged_and_shows_its_probe(tmp_path):
    went = {"iterations": 400, "at_most": 500, "moved": 12.34, "converged": True, "first_conflicting": 21}
    stopped = {**went, "iterations": 500, "converged": False}
    drawn = {"iteration": [0, 100, 400], "loss": [8.0, 4.0, 2.0], "standard_error": [0.0, 0.0, 1.0]}
    folders = [distilled(tmp_path, debias="a", distillation=went, probe=drawn)]
    folders += [distilled(tmp_path, debias="b", distillation=stopped), distilled(tmp_path, debias="c")]
    text = page(tmp_path, distilled=folders)
    assert [cells[1] for cells in row_texts(text)] == ["yes", "no †", "–"]
    assert re.search(r'data-column="2">converged</button>.*data-column="3">time<', text, re.S)
    shown = " ".join(" ".join(Page(text).text).split())
    for words in ("converged yes iterations 400 of at most 500 moved 12.3 of 255", "converged no †", "first images 21"):
        assert words in shown
    assert "Loss on the probe over 400 steps" in shown
    assert "loss on the probe 8 ± 0 → 2 ± 1 (lowest 2, highest 8); fixed networks" in shown
    # Iterations lie where they are on the axis; the band goes from 1 to 3 at the end.
    assert 'class="line" points="0,1 60,34 240,51"' in text
    (band,) = re.findall(r'class="band" points="(.*?)"', text)
    assert band.split() == ["0,1", "60,34", "240,42", "240,59", "60,34", "0,1"]
    assert "†" not in page(tmp_path, distilled=folders[:1] + folders[2:]).replace("† the loss", "")
    assert "converged" not in page(tmp_path, distilled=folders[2:])


def test_a_row_has_an_address_of_its_own(tmp_path):
    folders = [distilled(tmp_path, debias=debias) for debias in ("a b", "a/b", "kde")]
    text = page(tmp_path, distilled=folders)
    rows = [a["id"] for a in Page(text).all("tr") if a.get("class") == "run"]
    assert rows == [f"digits-0.95-dm-{name}" for name in ("a_b-ipc10-seed0", "a_b-ipc10-seed0-2", "kde-ipc10-seed0")]


def test_details_tell_the_weights_once_for_all_sets_that_share_them(tmp_path):
    folders = [distilled(tmp_path / name, seed=seed) for name in ("a", "b") for seed in (0, 1)]
    text = page(tmp_path, distilled=folders, weights=[weights(tmp_path), weights(tmp_path, debias="uniform")])
    shown = " ".join(" ".join(Page(text).text).split())
    assert shown.count("62.5 % of the weight; they are 25.0 % of the samples") == 1
    for words in ("samples 4", "not shown: 1 of weight 0", "aligned samples", "surrogate.epochs 12", "variances"):
        assert words in shown
    assert "0 3 33.3 % 83.3 % 1 0.25" in shown  # the first class
    places = re.findall(r'data-part="(part-\d+)"', text)
    assert {place: places.count(place) for place in places} == {"part-0": 4, "part-1": 2}
    unknown = page(tmp_path, distilled=folders, weights=[weights(tmp_path, attribute=False)])
    assert "all samples" in unknown
    assert "of the weight; they" not in unknown


def test_previews_get_smaller_the_more_there_are(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 200, (42, 42, 3)).repeat(8, 0).repeat(8, 1)[:331, :331] + rng.integers(0, 50, (331, 331, 3))
    noise = noise.astype(np.uint8)
    Image.fromarray(noise.repeat(2, 0).repeat(2, 1)).save(tmp_path / "preview.png")
    sizes = []
    for sharing in (1, 400, 2000):
        found = preview(tmp_path / "preview.png", sharing)
        assert (found.width, found.height) == (662, 662)
        content = base64.b64decode(found.address.removeprefix("data:image/webp;base64,"))
        assert len(content) <= PREVIEWS / sharing
        sizes.append(Image.open(io.BytesIO(content)).width)
    assert sizes[0] == 331  # pixel for pixel what is stored; the browser repeats them
    assert sizes[-1] < 331
    Image.fromarray(noise[:30, :30].repeat(2, 0).repeat(2, 1)).save(tmp_path / "preview.png")
    exact = preview(tmp_path / "preview.png", 1).address.removeprefix("data:image/webp;base64,")
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(exact)))) == noise[:30, :30]).all()


def test_drawings_stay_in_their_box():
    drawn = curve("loss", [None, float("nan"), *np.geomspace(1e6, 1e-3, 20_000)])
    points = np.asarray([point.split(",") for point in drawn.points.split()], float)
    assert len(points) <= 120
    assert points.min() >= 0
    assert points.max(0).tolist() == [240, 59]
    assert (drawn.first, drawn.last, drawn.count) == ("1e+06", "0.001", 20_002)
    assert curve("loss", [1.0, None]) is None
    assert histogram(np.zeros(3), None) is None
    (part,) = histogram(np.asarray([0, 0.1, 1, 100]), None).parts
    numbers = np.asarray(re.findall(r"\d+", part[1]), float)
    assert numbers.max() == 240


def test_nothing_leaves_the_page(tmp_path, table):
    folder = distilled(tmp_path, debias="a b%")
    files = {"evaluations": [evaluation(tmp_path)], "weights": [weights(tmp_path)]}
    text = page(tmp_path, tables=[table], distilled=[folder, distilled(tmp_path)], **files)
    parsed = Page(text)
    beside = []
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attributes and tag == "a" and attributes[name].startswith("../"):
                beside.append(attributes[name])  # a file beside the page, opened by a click only
            elif name in attributes:
                assert attributes[name].startswith(("data:image/png", "data:image/webp", "#")), (tag, attributes)
        assert "style" not in attributes, (tag, attributes)
    assert (tmp_path / "report" / unquote(beside[0])).resolve() == (folder / "preview.png").resolve()
    assert len(beside) == 2
    assert not parsed.all("link")
    assert not parsed.all("iframe")
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = [a["content"] for a in parsed.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    # The one script of the page is exactly the one that the policy lets run.
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_summary_leads_to_rows_and_names_what_to_doubt(tmp_path):
    went = {"iterations": 500, "at_most": 500, "moved": 1.0, "converged": False, "first_conflicting": 1}
    sets = [distilled(tmp_path, debias=name, seed=seed) for name in ("uniform", "kde") for seed in (0, 1)]
    sets += [distilled(tmp_path, debias="late", distillation=went)]
    files = [
        evaluation(tmp_path, debias=name, seed=seed, right=(right,), diverged=[0] if right == 38 else ())
        for name, seed, right in (("uniform", 0, 30), ("uniform", 1, 32), ("kde", 0, 36), ("kde", 1, 38))
    ]
    text = page(tmp_path, distilled=[*sets, tmp_path / "later"], evaluations=files)
    shown = " ".join(" ".join(Page(text).text).split())
    # Of 40: 90 and 95 against 75 and 80 percent; Student's factor for two values is 12.706.
    for words in (
        "digits, ratio 0.95, dm, IPC 10, net kde 92.5 ± 31.8 +15.0 ± 0.0 –",
        "1 of 6 sets are not there",
        "1 of 5 sets are not evaluated yet: digits 0.95 dm late 10 0",
        "1 of 5 sets did not converge: more iterations would change them: digits 0.95 dm late 10 0",
        "1 of 5 sets have an evaluation with diverged networks, whose numbers say little: digits 0.95 dm kde 10 1",
    ):
        assert words in shown
    ids = {attributes["id"] for _, attributes in Page(text).elements if "id" in attributes}
    links = {a["href"][1:] for a in Page(text).all("a") if a["href"].startswith("#")}
    assert links <= ids
    whole = page(tmp_path, distilled=sets[:1], evaluations=files[:1])
    assert "nothing is known that makes a number doubtful" in whole
    assert "75.0 (1 seed)" in whole
    assert "it is the plain one" in whole
    assert "No set has been evaluated yet" in page(tmp_path, distilled=sets)


def test_names_are_only_ever_text(tmp_path, table):
    folder = distilled(tmp_path, debias=NASTY)
    evaluations = [evaluation(tmp_path, debias=NASTY, name=name) for name in (NASTY, "</template></script>")]
    text = page(
        tmp_path,
        tables=[table],
        distilled=[folder, distilled(tmp_path), tmp_path / NASTY],
        evaluations=evaluations,
        weights=[weights(tmp_path, debias=NASTY, **{NASTY: ["<b>", NASTY]})],
        title=NASTY,
        study=NASTY,
        commit=NASTY,
    )
    parsed = Page(text)
    assert not [a for _, a in parsed.elements if "onerror" in a]
    assert len(parsed.all("img")) == 2
    assert not parsed.all("b")[3:]  # study, scale, commit
    assert parsed.text.count(NASTY) >= 10  # title, heading, study, commit, table, filter, row, details
    assert text.count("<script>") == text.count("</script>") == 1
    assert text.count("</template>") == len(parsed.all("template"))
    assert [cells[0] for cells in row_texts(text)] == [NASTY, "kde"]


def test_control_characters_are_written_not_obeyed(tmp_path):
    folder = distilled(tmp_path, debias="kde\x1b[31m\u202e")
    text = page(tmp_path, distilled=[folder], title="a\x07b")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert r"kde\x1b[31m\u202e" in text
    assert r"a\x07b" in text


def test_the_filter_offers_what_differs_in_numerical_order(tmp_path):
    folders = [distilled(tmp_path, ratio=ratio, seed=s) for ratio in ("0.95", "0.5", "1", "natural") for s in (10, 9)]
    text = page(tmp_path, distilled=folders)
    parsed = Page(text)
    assert [a["name"] for a in parsed.all("select")] == ["ratio", "seed"]
    options = re.findall(r"<option>(.*?)</option>", text)
    assert options == ["0.5", "0.95", "1", "natural", "9", "10"]


def test_missing_pieces_are_named(tmp_path):
    bare = distilled(tmp_path, run=False, images=False)
    for name in ("preview.png", "history.parquet"):
        (bare / name).unlink()
    text = page(
        tmp_path,
        tables=[tmp_path / "main.html"],
        figures=[tmp_path / "accuracy.png"],
        distilled=[bare, tmp_path / "later" / "seed1"],
    )
    for words in ("Table main: not made yet", "Figure accuracy: not made yet", "1 of 2 sets", "later/seed1"):
        assert words in text
    assert "No preview" in text
    assert "not recorded" in text


def test_a_figure_has_its_caption_and_a_hostile_one_is_text(tmp_path):
    picture = tmp_path / "accuracy.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    text = page(tmp_path, figures=[picture], captions={"accuracy": "Colour <b>says</b> nothing"})
    assert "Colour &lt;b&gt;says&lt;/b&gt; nothing</figcaption>" in text


def test_advice_is_shown_with_its_picture_and_as_text(tmp_path):
    folder = tmp_path / "data" / NASTY.replace("/", "") / "0.95"
    folder.mkdir(parents=True)
    lines = [
        "# x, aligned ratio 0.95: a bias was found",
        "",
        "- use `uniform` <b>",
        "- two",
        "",
        "```yaml",
        "a: <b>",
        "```",
    ]
    (folder / "advice.md").write_text("\n".join(lines))
    (folder / "advice.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    parsed = Page(page(tmp_path, advice=[folder / "advice.md"]))
    text = "".join(parsed.text)
    assert f"{folder.parent.name}, aligned ratio 0.95: a bias was found" in text
    assert "use uniform <b>" in text
    assert "a: <b>\n" in text
    assert len(parsed.all("li")) == 2
    assert len(parsed.all("img")) == 1
    assert "#advice" in [a.get("href") for a in parsed.all("a")]
    assert "#advice" not in page(tmp_path)
    (folder / "advice.md").write_text("")
    with pytest.raises(DdbiasError, match=r"advice\.md is not what make advise wrote"):
        page(tmp_path, advice=[folder / "advice.md"])


def test_an_empty_study_is_a_page_too(tmp_path):
    text = page(tmp_path)
    for words in ("no table", "no figure", "no distilled set"):
        assert words in text


def test_the_same_inputs_give_the_same_bytes(tmp_path, table):
    folders = [distilled(tmp_path), distilled(tmp_path, seed=1)]
    files = {"evaluations": [evaluation(tmp_path)], "weights": [weights(tmp_path)]}
    first = page(tmp_path, tables=[table], distilled=folders, **files)
    assert page(tmp_path, tables=[table], distilled=folders, **files) == first


def test_text_that_has_no_bytes_is_no_failure(tmp_path):
    folder = distilled(tmp_path)
    (folder / "run.json").write_text('{"commit": "\\ud800"}')
    assert "commit" in page(tmp_path, distilled=[folder])


def test_damaged_files_are_one_line_and_leave_no_page(tmp_path):
    table, figure, folder = tmp_path / "main.html", tmp_path / "a.png", tmp_path / "seed0"
    table.write_text("<p>other</p>")
    figure.write_text("not a picture")
    store.write_tensors(folder / "distilled.safetensors", {"x": torch.zeros(1)}, {})
    foreign, empty = tmp_path / "foreign.parquet", tmp_path / "empty.parquet"
    store.write_table(foreign, {"x": [1]}, {})
    rows, meta = store.read_table(evaluation(tmp_path))
    store.write_table(empty, rows.slice(0, 0), meta)
    cases = [
        ({"tables": [table]}, "not a table"),
        ({"figures": [figure]}, "not a PNG"),
        ({"distilled": [folder]}, "lacks"),
        ({"evaluations": [figure]}, "a.png is damaged"),
        ({"evaluations": [foreign]}, "foreign.parquet is not an evaluation"),
        ({"evaluations": [empty]}, "empty.parquet holds no result"),
        ({"weights": [figure]}, "a.png is damaged"),
        ({"weights": [foreign]}, "foreign.parquet is not a file of weights"),
    ]
    whole = (distilled(tmp_path / "whole") / "preview.png").read_bytes()
    damage = {
        "preview.png": [(b"x", "not a PNG"), (whole[:40], "damaged picture")],
        "history.parquet": [(b"x", "damaged")],
        "distilled.safetensors": [(b"x", "damaged")],
        "run.json": [
            (b"{", "damaged"),
            (b"[1]", "holds no mapping"),
            (b'{"seconds": "long"}', "not the record"),
            (b'{"probe": {"iteration": [1]}}', "not the record"),
            (b'{"probe": {"iteration": [1, 0], "loss": [1, 2], "standard_error": [0, 0]}}', "not the record"),
        ],
    }
    for name, contents in damage.items():
        for number, (content, words) in enumerate(contents):
            broken = distilled(tmp_path / f"{name}{number}")
            (broken / name).write_bytes(content)
            cases.append(({"distilled": [broken]}, f"{name} is .*{words}"))
    for changes, words in cases:
        with pytest.raises(DdbiasError, match=words):
            page(tmp_path, **changes)
    assert not (tmp_path / "report").exists()
