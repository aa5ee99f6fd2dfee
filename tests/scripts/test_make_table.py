from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import make_table
from ddbias.data import store

WORKFLOW = Path(__file__).parents[2] / "workflow"
CELL = {"dataset": "digits", "ratio": "0.95", "distiller": "dm", "debias": "kde", "ipc": "10", "evaluation": "net"}


def test_the_script_writes_every_output(tmp_path, snakemake, monkeypatch):
    columns = {"study": "digits", "scale": "quick", **CELL, "seed": 0, "repeat": 0, "metric": "accuracy"}
    file = tmp_path / "net.parquet"
    columns |= {"value": 0.5, "support": 360}
    store.write_table(file, {name: [value] for name, value in columns.items()}, {"convention": "balanced"})
    outputs = {form: str(tmp_path / "tables" / f"main.{form}") for form in ("csv", "md", "tex", "html")}
    published = str(WORKFLOW / "resources" / "published_results.csv")
    rows = [{**CELL, "metric": "accuracy", "published": None}]
    job = snakemake(
        "make_table",
        input={"published": published, "evaluations": [str(file)]},
        output=outputs,
        params={"rows": rows, "caption": "Main", "spread": "interval"},
        wildcards={"study": "digits", "scale": "quick", "table": "main"},
    )
    monkeypatch.setenv("DDBIAS_COMMIT", "abc123")
    make_table.main(job)
    assert "0.95,dm,kde,10,net,accuracy,50.00,,,1,1,,,,,,,,,,0,quick" in Path(outputs["csv"]).read_text()
    assert all("abc123" in Path(outputs[form]).read_text() for form in ("md", "tex", "html"))


def test_captions_render_with_what_the_rules_have():
    snakemake = SimpleNamespace(
        config={"study": "digits", "scale": "quick", "plugins": []},
        wildcards=SimpleNamespace(study="digits", scale="quick", table="main", figure="bars", seed="0", **CELL),
        params=SimpleNamespace(caption="What it shows.", kind="accuracy"),
    )
    captions = sorted((WORKFLOW / "report").glob("*.rst"))
    assert {path.stem for path in captions} == {"workflow", "table", "figure", "page", "distilled"}
    for path in captions:
        template = jinja2.Template(path.read_text(), undefined=jinja2.StrictUndefined)
        text = template.render(snakemake=snakemake)
        assert "digits" in text
        assert "quick" in text
        docutils.core.publish_string(text, settings_overrides={"halt_level": 2, "report_level": 5})
