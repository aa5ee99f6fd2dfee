import check_data
import pytest
from ddbias.data.split import save_split
from ddbias.datasets.synthesis import synthesize_dataset


@pytest.mark.parametrize(("ipc", "said"), [(10, "nothing found"), (200, "class '0' has 119 training images")])
def test_report(tmp_path, snakemake, ipc, said):
    splits = synthesize_dataset(
        source={"kind": "digits"},
        bias={"kind": "foreground", "severity": 1},
        ratio=0.95,
        test="balanced",
        size=16,
        seed=0,
        data={},
    )
    paths = {name: str(tmp_path / f"{name}.arrow") for name in ("train", "test")}
    for path, split in zip(paths.values(), splits, strict=True):
        save_split(path, split)
    job = snakemake(
        "check_data",
        input=paths,
        output={"report": tmp_path / "check.md"},
        params={"source": {"kind": "digits"}, "size": 16, "ipc": ipc},
        wildcards={"dataset": "digits_fg", "ratio": "0.95"},
    )
    job.config = {"data": {}, "plugins": []}
    check_data.main(job)
    text = (tmp_path / "check.md").read_text()
    assert text.startswith("# digits_fg, aligned ratio 0.95\n")
    assert "| 0 | **113** |" in text
    assert said in text.split("## What would go wrong")[1]
