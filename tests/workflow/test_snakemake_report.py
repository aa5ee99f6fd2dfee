"""`snakemake --report`: one archive with the tables, figures, distilled images and the page, each with a caption."""

import json
import re

import pytest

pytestmark = pytest.mark.slow
CATEGORIES = {"Tables", "Figures", "Distilled images", "Page"}


def test_snakemake_s_own_report_has_everything_in_its_category(finished):
    status, output = finished.run("tiny.yaml", "--report", "report.html")
    assert status == 0, output
    text = (finished / "report.html").read_text()
    # Snakemake writes its categories as JSON into a script.
    (listed,) = re.findall(r"^var categories = (.*?);?$", text, re.MULTILINE)
    assert set(json.loads(listed)) == CATEGORIES
    for words in ("A tiny table", "One row", "Study <strong>tiny</strong>"):
        assert words in text
