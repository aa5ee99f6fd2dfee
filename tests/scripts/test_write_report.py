from pathlib import Path

import write_report

WORKFLOW = Path(__file__).parents[2] / "workflow"


def test_the_script_writes_the_page(tmp_path, snakemake, monkeypatch):
    template = str(WORKFLOW / "resources" / "report.html.j2")
    page = tmp_path / "report" / "index.html"
    files = {"template": template, "tables": [str(tmp_path / "main.html")], "figures": []}
    files |= {"evaluations": [], "weights": [], "advice": []}
    job = snakemake(
        "write_report",
        input=files,
        output={"page": page},
        params={"title": "Bias & digits", "distilled": [str(tmp_path / "seed0")], "captions": {}},
        wildcards={"study": "digits", "scale": "quick"},
    )
    monkeypatch.setenv("DDBIAS_COMMIT", "abc123")
    write_report.main(job)
    text = page.read_text()
    for words in ("Bias &amp; digits", "abc123", "Table main: not made yet", "1 of 1 sets", "seed0"):
        assert words in text
