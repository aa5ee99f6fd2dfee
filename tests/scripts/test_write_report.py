import importlib.util
from pathlib import Path
from types import SimpleNamespace

from snakemake.iocontainers import InputFiles, OutputFiles, Params, Wildcards

WORKFLOW = Path(__file__).parents[2] / "workflow"


def test_the_script_writes_the_page(tmp_path, monkeypatch):
    template = str(WORKFLOW / "resources" / "report.html.j2")
    page = tmp_path / "report" / "index.html"
    files = {"template": template, "tables": [str(tmp_path / "main.html")], "figures": []}
    files |= {"evaluations": [], "weights": [], "advice": []}
    snakemake = SimpleNamespace(
        input=InputFiles(fromdict=files),
        output=OutputFiles(toclone=[str(page)]),
        params=Params(fromdict={"title": "Bias & digits", "distilled": [str(tmp_path / "seed0")], "captions": {}}),
        wildcards=Wildcards(fromdict={"study": "digits", "scale": "quick"}),
    )
    monkeypatch.setenv("DDBIAS_COMMIT", "abc123")
    spec = importlib.util.spec_from_file_location("report_script", WORKFLOW / "scripts" / "write_report.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(snakemake)
    text = page.read_text()
    for words in ("Bias &amp; digits", "abc123", "Table main: not made yet", "1 of 1 sets", "seed0"):
        assert words in text
