import base64
import hashlib
import html.parser
import re

import numpy as np
import pytest
import torch
from ddbias import store
from ddbias.errors import DdbiasError
from ddbias.report import build
from ddbias.table_formats import Cell, Table, write_html
from PIL import Image

NASTY = '<img src=x onerror="alert(1)">&\'"'
VOID = {"meta", "img", "br", "input", "link", "hr", "polyline"}


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


def distilled(folder, *, debias="kde", ratio="0.95", seed=0, images=True, run=True):
    folder = folder / f"{debias.replace('/', '_')[:8]}{ratio}{seed}"
    cell = {"study": "digits", "scale": "quick", "dataset": "digits", "ratio": ratio, "distiller": "dm"}
    cell |= {"debias": debias, "ipc": "10", "seed": seed, "kind": "distilled"}
    tensors = {"labels": torch.arange(2), **({"images": torch.zeros(2, 1, 2, 2)} if images else {})}
    settings = {"distiller": {"lr": 0.1, "note": NASTY}}
    store.write_tensors(
        folder / "distilled.safetensors", tensors, {**cell, "settings": settings, "provenance": {"torch": "2"}}
    )
    Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(folder / "preview.png")
    store.write_table(folder / "history.parquet", {"iteration": [1, 2, 3], "loss": [3.0, 2.0, 1.0]}, {})
    if run:
        facts = {"seconds": 75.25, "peak_memory_mb": 812.4, "commit": "0123456789ab+"}
        facts |= {"device": "cpu", "date": "2026-01-02T03:04:05+00:00", "command": f"snakemake {NASTY}", "host": "box"}
        store.write_json(folder / "run.json", facts)
    return folder


@pytest.fixture
def table(tmp_path):
    key = {"dataset": "digits", "ratio": "0.95", "distiller": "dm", "debias": NASTY, "ipc": "10", "evaluation": "net"}
    cell = Cell(key=key, metric="accuracy", mean=61.5, std=1.5, n=9)
    path = tmp_path / "tables" / "main.html"
    write_html(path, Table(caption="Main table", scale="quick", cells=[cell], notes=["Scale quick."]))
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
    text = page(tmp_path, tables=[table], figures=[picture], distilled=folders)
    parsed = Page(text)
    shown = " ".join(" ".join(parsed.text).split())
    for words in ("Digits", "scale", "quick", "abc123", "Main table", "61.5 ± 1.5", "0123456789ab with uncommitted"):
        assert words in shown
    for words in ("75.2 s", "812 MB", "distiller.lr", "loss 3 → 1", "dm, uniform", "dm, kde"):
        assert words in shown
    embedded = [base64.b64decode(a["src"].removeprefix("data:image/png;base64,")) for a in parsed.all("img")]
    previews = [(folder / "preview.png").read_bytes() for folder in folders]
    assert embedded == [picture.read_bytes(), *previews]
    assert [a["name"] for a in parsed.all("select")] == ["debias"]
    assert "yet" not in shown


def test_nothing_leaves_the_page(tmp_path, table):
    text = page(tmp_path, tables=[table], distilled=[distilled(tmp_path)])
    parsed = Page(text)
    for tag, attributes in parsed.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if name in attributes:
                assert attributes[name].startswith(("data:image/png", "#")), (tag, attributes)
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


def test_names_are_only_ever_text(tmp_path, table):
    folder = distilled(tmp_path, debias=NASTY)
    text = page(
        tmp_path, tables=[table], distilled=[folder, distilled(tmp_path)], title=NASTY, study=NASTY, commit=NASTY
    )
    parsed = Page(text)
    assert not [a for _, a in parsed.elements if "onerror" in a]
    assert len(parsed.all("img")) == 2
    assert parsed.text.count(NASTY) >= 5  # title, heading, study, commit, table, filter
    runs = [a["data-debias"] for a in parsed.all("article")]
    assert runs == [NASTY, "kde"]


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


def test_an_empty_study_is_a_page_too(tmp_path):
    text = page(tmp_path)
    for words in ("no table", "no figure", "no distilled set"):
        assert words in text


def test_the_same_inputs_give_the_same_bytes(tmp_path, table):
    folder = distilled(tmp_path)
    assert page(tmp_path, tables=[table], distilled=[folder]) == page(tmp_path, tables=[table], distilled=[folder])


def test_damaged_files_are_one_line_and_leave_no_page(tmp_path):
    table, figure, folder = tmp_path / "main.html", tmp_path / "a.png", tmp_path / "seed0"
    table.write_text("<p>other</p>")
    figure.write_text("not a picture")
    store.write_tensors(folder / "distilled.safetensors", {"x": torch.zeros(1)}, {})
    cases = (
        ({"tables": [table]}, "not a table"),
        ({"figures": [figure]}, "not a PNG"),
        ({"distilled": [folder]}, "lacks"),
    )
    for changes, words in cases:
        with pytest.raises(DdbiasError, match=words) as caught:
            page(tmp_path, **changes)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "report").exists()
