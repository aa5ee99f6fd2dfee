import json
from pathlib import Path

import torch
import write_export
from ddbias.data import store

RESOURCES = Path(__file__).resolve().parents[2] / "workflow" / "resources"


def test_the_script_writes_both_folders_and_the_summary(tmp_path, snakemake):
    cell = {"dataset": "digits", "ratio": "0.95", "distiller": "dm", "debias": "kde", "ipc": "1", "seed": 0}
    meta = {"kind": "distilled", "study": "mine", "scale": "quick", **cell, "label_names": ["a", "b"], "mean": [0.5]}
    meta |= {"std": [0.5], "settings": {"distiller": {}, "debias": {}}, "provenance": {}}
    path = tmp_path / "seed0" / "distilled.safetensors"
    store.write_tensors(path, {"images": torch.zeros(2, 1, 4, 4), "labels": torch.arange(2)}, meta)
    job = snakemake(
        "write_export",
        input={
            "card": str(RESOURCES / "dataset_card.md"),
            "readme": str(RESOURCES / "dd_ranking.md"),
            "distilled": [str(path)],
            "runs": [],
            "trains": [],
            "evaluations": [],
        },
        output={"summary": tmp_path / "summary.md"},
        params={"folder": str(tmp_path / "out"), "planned": 2, "lost": False},
        wildcards={"study": "mine", "scale": "quick"},
    )
    write_export.main(job)
    assert "missing: 1 of 2 sets" in (tmp_path / "summary.md").read_text()
    card = (tmp_path / "out/huggingface/README.md").read_text()
    assert "images of an unknown source; licence: unknown." in card
    assert "None of these sets has been evaluated." in card
    assert "datePublished" not in json.loads((tmp_path / "out/huggingface/croissant.json").read_text())
    assert (tmp_path / "out/dd-ranking/digits-0.95-dm-kde-ipc1-seed0/images/00001/00000.png").exists()
