"""The static report: one page with tables, figures and every distilled set, that opens from a file and offline.

All pictures are inside the page, so it can be mailed. A content security policy forbids every request and every
script but the page's own filter, and all texts are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ddbias import store
from ddbias.errors import DdbiasError
from ddbias.table_formats import HTML_BEGIN, HTML_END

TEMPLATE = Path(__file__).parents[2] / "resources" / "report.html.j2"
NAMES = ("dataset", "ratio", "distiller", "debias", "ipc", "seed")
PNG_START = b"\x89PNG\r\n\x1a\n"
FILTER = """\
const runs=[...document.querySelectorAll("[data-run]")],selects=[...document.querySelectorAll("#filter select")];
function show(){let n=0;for(const run of runs){const on=selects.every(s=>!s.value||run.dataset[s.name]===s.value);
run.hidden=!on;n+=on}const c=document.getElementById("count");if(c)c.textContent=n+" of "+runs.length}
selects.forEach(s=>s.addEventListener("change",show));show();"""


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
    template: str | Path = TEMPLATE,
) -> None:
    """Write the report page.

    Parameters
    ----------
    study, scale, title, commit : str
        Shown at the top.
    tables : sequence of path
        HTML files that `ddbias.tables.tabulate` wrote.
    figures : sequence of path
        PNG files.
    distilled : sequence of path
        Folders of distilled sets (``distilled/{dataset}/.../seed{seed}``). What has not been run yet, among these
        and among the tables and figures, is named as missing.
    output : path
        The page, e.g. ``report/index.html``.
    template : path
        Jinja2 template.

    Raises
    ------
    DdbiasError
        If an existing file is damaged or not what it should be.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    runs = [_run(Path(folder)) for folder in distilled]
    finished = [run for run in runs if run["meta"]]
    choices = {name: _values(run["meta"][name] for run in finished) for name in NAMES}
    page = environment.from_string(Path(template).read_text(encoding="utf-8")).render(
        study=study,
        scale=scale,
        title=title,
        commit=commit,
        tables=[_table(Path(path)) for path in tables],
        figures=[_figure(Path(path)) for path in figures],
        runs=finished,
        missing=[run["folder"] for run in runs if not run["meta"]],
        choices={name: values for name, values in choices.items() if len(values) > 1},
        names=NAMES,
        script=_trusted(FILTER),
        script_hash=_trusted(base64.b64encode(hashlib.sha256(FILTER.encode()).digest()).decode()),
    )
    store.write_bytes(output, page.encode())


def _trusted(text: str):
    """Mark text of our own as HTML that needs no escaping."""
    from markupsafe import Markup

    return Markup(text)


def _values(values) -> list[str]:
    """Return the different values, numbers in numerical order."""

    def order(text: str) -> tuple:
        try:
            return 0, float(text), text
        except ValueError:
            return 1, 0.0, text

    return sorted({str(value) for value in values}, key=order)


def _table(path: Path) -> dict:
    """Return the name of a table and its HTML, or None when it has not been made."""
    if not path.is_file():
        return {"name": path.stem, "html": None}
    text = path.read_text(encoding="utf-8")
    if text.count(HTML_BEGIN) != 1 or text.count(HTML_END) != 1:
        raise DdbiasError(f"{path} is not a table of this workflow; delete it and run the table again")
    return {"name": path.stem, "html": _trusted(text.split(HTML_BEGIN)[1].split(HTML_END)[0])}


def _figure(path: Path) -> dict:
    return {"name": path.stem, "image": _embed(path)}


def _embed(path: Path) -> str | None:
    """Return a PNG file as a data address, or None when there is no such file."""
    if not path.is_file():
        return None
    content = path.read_bytes()
    if not content.startswith(PNG_START):
        raise DdbiasError(f"{path} is not a PNG picture; delete it and run again")
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _run(folder: Path) -> dict:
    """Collect what the page says about one distilled set; without its file, ``meta`` is None."""
    path = folder / "distilled.safetensors"
    if not path.is_file():
        return {"folder": str(folder), "meta": None}
    meta = _meta(path)
    facts = store.read_json(folder / "run.json") if (folder / "run.json").is_file() else {}
    return {
        "folder": str(folder),
        "meta": {name: str(meta[name]) for name in NAMES},
        "preview": _embed(folder / "preview.png"),
        "loss": _loss(folder / "history.parquet"),
        "facts": _facts(facts),
        "command": _command(facts.get("command")),
        "settings": _flatten(meta.get("settings", {})) | _flatten(meta.get("provenance", {})),
    }


def _meta(path: Path) -> Mapping:
    """Return the metadata of a distilled set; a foreign file raises `DdbiasError`."""
    _, meta = store.read_tensors(path, framework="np")
    lacking = [name for name in NAMES if name not in meta]
    if lacking:
        raise DdbiasError(f"{path} is not a distilled set: it lacks {', '.join(lacking)}; distill again")
    return meta


def _facts(run: Mapping) -> dict[str, str]:
    """Word the entries of ``run.json`` that a reader wants; what is not recorded is left out."""
    facts = {}
    if run.get("commit"):
        facts["commit"] = str(run["commit"]).replace("+", " with uncommitted changes")
    if run.get("device"):
        facts["device"] = str(run["device"])
    if run.get("seconds") is not None:
        facts["time"] = _duration(float(run["seconds"]))
    if run.get("peak_memory_mb") is not None:
        facts["peak memory"] = f"{float(run['peak_memory_mb']):.0f} MB"
    if run.get("date"):
        facts["date"] = str(run["date"])
    return facts


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 100 else f"{minutes / 60:.1f} h"


def _command(command: object) -> str:
    import shlex

    return shlex.join(map(str, command)) if isinstance(command, list) else str(command or "")


def _flatten(tree: Mapping, prefix: str = "") -> dict[str, str]:
    """Turn nested settings into ``{"optimizer.lr": "0.1"}``."""
    flat = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": str(value)}
    return flat


def _loss(path: Path) -> dict | None:
    """Return the loss curve as points of a 100 x 30 drawing, at most 200, with its first and last value."""
    import math

    if not path.is_file():
        return None
    table, _ = store.read_table(path)
    if "loss" not in table.column_names:
        return None
    values = [value for value in table["loss"].to_pylist() if value is not None and math.isfinite(value)]
    if len(values) < 2:
        return None
    low, high = min(values), max(values)
    step = max(1, len(values) // 200)
    points = [
        f"{100 * i / (len(values) - 1):.1f},{29 - 28 * (values[i] - low) / ((high - low) or 1):.1f}"
        for i in range(0, len(values), step)
    ]
    return {"points": " ".join(points), "first": f"{values[0]:.4g}", "last": f"{values[-1]:.4g}"}
