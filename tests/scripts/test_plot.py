from pathlib import Path

import plot
import pytest
from ddbias.data import store


@pytest.mark.parametrize("several", [True, False])
def test_the_script_takes_a_list_or_one_file(tmp_path, snakemake, several):
    meta = {"dataset": "digits", "ratio": "0.95", "debias": "kde", "seed": 0, "auc": 0.9}
    weights = tmp_path / "weights.parquet"
    store.write_table(weights, {"label": [0, 0, 1], "attribute": [0, 1, 1], "weight": [0.5, 1.5, 1.0]}, meta)
    outputs = {form: str(tmp_path / f"weights.{form}") for form in ("png", "svg")}
    files = {"weights": [str(weights)] if several else str(weights)}
    params = {"kind": "weights", "settings": {"bins": 4}, "caption": ""}
    plot.main(snakemake("plot", input=files, output=outputs, params=params))
    assert Path(outputs["png"]).read_bytes().startswith(b"\x89PNG")
    assert "<svg" in Path(outputs["svg"]).read_text()
