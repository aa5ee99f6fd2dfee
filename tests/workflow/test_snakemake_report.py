"""`snakemake --report`: one file with the tables, figures, distilled images and the page, each with a caption."""

import json
import re


def packed(text, name):
    """Return what Snakemake writes into its report as the value of a JavaScript variable."""
    return json.loads(re.search(rf'^\s*var {name} = (\{{".*\}});$', text, re.MULTILINE)[1])


def test_snakemake_s_own_report_has_everything_with_caption_and_category(finished):
    status, output = finished.run("tiny.yaml", "--report", "report.html")
    assert status == 0, output
    text = (finished / "report.html").read_text()
    counts = {name: sum(map(len, parts.values())) for name, parts in packed(text, "categories").items()}
    assert counts == {"Tables": 2, "Figures": 2, "Distilled images": 4, "Page": 1}
    results = packed(text, "results")
    for path, words in (
        ("tables/main.csv", "A tiny table"),
        ("figures/weights.png", "kind of figure: weights"),
        ("distilled/digits_fg/0.95/dm/kde/ipc1/seed0/preview.png", "<strong>kde</strong>"),
        ("report/index.html", "on one page"),
    ):
        assert words in results[f"results/tiny/quick/{path}"]["caption"], path
    assert "Study <strong>tiny</strong>" in text
