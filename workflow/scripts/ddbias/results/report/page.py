"""The static report: one page with tables, figures and every distilled set, that opens from a file and offline.

All pictures are inside the page, so it can be mailed. The details of a set are in a `template` element: not rendered
until its row is opened, so thousands of rows stay fast. Common parts of pages: `ddbias.results.offline_page`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ddbias.base import paths
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.results import offline_page
from ddbias.results.offline_page import NONE
from ddbias.results.report.pictures import HEIGHT, WIDTH, embed
from ddbias.results.report.sets import KEYS, Run, collect, duration
from ddbias.results.report.summary import WIDTH as DOTS
from ddbias.results.report.summary import summarise
from ddbias.results.tables.formats import DIVERGED, HTML_BEGIN, HTML_END, MARK, fixed, metric_head

TEMPLATE = paths.RESOURCES / "report.html.j2"
MAIN = ("accuracy", "unbiased_accuracy", "conflicting_accuracy", "worst_group_accuracy")


@dataclass(frozen=True)
class Row:
    """A line of the table of sets: texts of its cells, its place in addresses, and its details.

    A number is its text, with a mark where a network diverged, and what it is sorted by.
    """

    id: str
    keys: list[str]
    numbers: list[tuple[str, str]]
    converged: str
    time: str
    seconds: str
    run: Run
    preview_link: str
    settings: str
    weights: str
    evaluations: list[tuple]


class Parts:
    """Details that many sets share, such as settings: each is in the page once."""

    def __init__(self) -> None:
        self.names: dict[str, tuple[str, object]] = {}

    def name(self, kind: str, content: object) -> str:
        """Return the id of a part, the same for equal contents; empty for nothing."""
        return self.names.setdefault(repr((kind, content)), (f"part-{len(self.names)}", kind, content))[0]

    def __iter__(self):
        return iter(self.names.values())


def build(
    *,
    study: str,
    scale: str,
    title: str,
    commit: str,
    tables: Sequence[str | Path],
    figures: Sequence[str | Path],
    distilled: Sequence[str | Path],
    output: str | Path,
    evaluations: Sequence[str | Path] = (),
    weights: Sequence[str | Path] = (),
    advice: Sequence[str | Path] = (),
    captions: Mapping[str, str] | None = None,
    template: str | Path = TEMPLATE,
) -> None:
    """Write the report page.

    Parameters
    ----------
    study, scale, title, commit : str
        Shown at the top.
    tables : sequence of path
        HTML files that `ddbias.results.tables.tabulate.tabulate` wrote.
    figures : sequence of path
        PNG files.
    distilled : sequence of path
        Folders of distilled sets (``distilled/{dataset}/.../seed{seed}``). What has not been run yet, among these
        and among the tables and figures, is named as missing.
    output : path
        The page, e.g. ``report/index.html``.
    evaluations, weights : sequence of path
        Files of the sets' results and of the weights that they were made with; the missing ones are passed over.
    advice : sequence of path
        Files ``data/{dataset}/{ratio}/advice.md`` that say whether a training set has a bias, each beside its picture.
    captions : mapping, optional
        Figure name to what it shows.
    template : path
        Jinja2 template, see `ddbias.results.offline_page.render`.

    Raises
    ------
    DdbiasError
        If an existing file is damaged or not what it should be.
    """
    runs, missing = collect(distilled, evaluations, weights)
    header = {"study": study, "scale": scale, "title": title, "commit": commit}
    pictures = [_figure(Path(path), captions or {}) for path in figures]
    shown = {"tables": [_table(Path(path)) for path in tables], "figures": pictures}
    shown["advice"] = [_advice(Path(path)) for path in advice]
    page = render(runs, missing, output=Path(output), template=Path(template), **header, **shown)
    # Half a surrogate pair, which JSON may hold, has no bytes.
    store.write_bytes(output, page.encode(errors="replace"))


def render(
    runs: Sequence[Run],
    missing: Sequence[str],
    *,
    output: Path,
    template: Path = TEMPLATE,
    advice: Sequence[Mapping] = (),
    **shown,
) -> str:
    """Return the page: what `build` writes, from sets that have been read."""
    # What is the same in every line is said once above the table, as in the tables of results.
    same = {key: runs[0].key[key] for key in KEYS if len({run.key[key] for run in runs}) == 1} if len(runs) > 1 else {}
    keys = [key for key in KEYS if key not in same]
    parts = Parts()
    groups = _groups(runs)
    rows = _rows(runs, keys, groups, parts, output.parent)
    return offline_page.render(
        template,
        **shown,
        advice=advice,
        same=same,
        keys=keys,
        groups=groups,
        judged=any(run.converged for run in runs),
        mark=MARK,
        diverged=any(one.diverged for run in runs for one in run.evaluations.values()) and DIVERGED,
        timed=any(run.seconds is not None for run in runs),
        rows=rows,
        summary=summarise(runs, [row.id for row in rows]),
        dots=DOTS,
        choices=[(index, key, offline_page.values(run.key[key] for run in runs)) for index, key in enumerate(keys, 1)],
        parts=parts,
        missing=missing,
        metric_head=metric_head,
        fixed=fixed,
        size=(WIDTH, HEIGHT),
    )


def _groups(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return every evaluation in order of appearance with those of the main metrics that any set has."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for name, evaluation in run.evaluations.items():
            found.setdefault(name, set()).update(evaluation.results)
    groups = [(name, [metric for metric in MAIN if metric in metrics]) for name, metrics in found.items()]
    return [(name, metrics) for name, metrics in groups if metrics]


def _rows(runs: Sequence[Run], keys: list[str], groups: list, parts: Parts, folder: Path) -> list[Row]:
    used: set[str] = set()
    rows = []
    for run in runs:
        number = [_mean(run, evaluation, metric) for evaluation, metrics in groups for metric in metrics]
        rows.append(
            Row(
                id=_id(run, used),
                keys=[run.key[key] for key in keys],
                numbers=number,
                converged={"true": "yes", "false": f"no {MARK}"}.get(run.converged, NONE),
                time=NONE if run.seconds is None else duration(run.seconds),
                seconds="" if run.seconds is None else f"{run.seconds:.2f}",
                run=run,
                preview_link=quote(Path(os.path.relpath(run.folder / "preview.png", folder)).as_posix()),
                settings=parts.name("settings", run.settings) if run.settings else "",
                weights=parts.name("weights", run.weights) if run.weights else "",
                evaluations=[
                    (name, one, parts.name("settings", one.settings)) for name, one in run.evaluations.items()
                ],
            )
        )
    return rows


def _mean(run: Run, evaluation: str, metric: str) -> tuple[str, str]:
    found = run.evaluations.get(evaluation)
    if not found or metric not in found.results:
        return NONE, NONE
    text = fixed(found.results[metric].mean, 1)
    return f"{text} {DIVERGED}" if found.diverged else text, text


def _id(run: Run, used: set[str]) -> str:
    """Return the name of a row in an address (``index.html#...``): once in the page, of harmless characters."""
    key = run.key
    text = "-".join([*(key[name] for name in KEYS[:4]), f"ipc{key['ipc']}", f"seed{key['seed']}"])
    name = base = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    count = 1
    while name in used:
        count += 1
        name = f"{base}-{count}"
    used.add(name)
    return name


def _table(path: Path) -> dict:
    """Return the name of a table and its HTML, or None when it has not been made."""
    if not path.is_file():
        return {"name": path.stem, "html": None}
    text = path.read_text(encoding="utf-8")
    if text.count(HTML_BEGIN) != 1 or text.count(HTML_END) != 1:
        raise DdbiasError(f"{path} is not a table of this workflow; delete it and run the table again")
    return {"name": path.stem, "html": offline_page.trusted(text.split(HTML_BEGIN)[1].split(HTML_END)[0])}


def _advice(path: Path) -> dict:
    """Return what `ddbias.debias.advice.in_words` wrote about a data set, and its picture."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("# "):
        raise DdbiasError(f"{path} is not what make advise wrote; delete it and run make advise again")
    return {
        "title": f"{path.parts[-3]}, aligned ratio {path.parts[-2]}: {lines[0].rpartition(': ')[2]}",
        "findings": [line[2:].replace("`", "") for line in lines if line.startswith("- ")],
        "config": "".join(re.findall("^```yaml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)),
        "image": embed(path.with_suffix(".png")),
    }


def _figure(path: Path, captions: Mapping[str, str]) -> dict:
    return {"name": path.stem, "caption": captions.get(path.stem) or path.stem, "image": embed(path)}
