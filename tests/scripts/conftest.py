from types import SimpleNamespace

import pytest


@pytest.fixture
def torch_as_before():
    """Undo what a script sets for its whole process."""
    import torch

    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])
    torch.set_flush_denormal(False)


@pytest.fixture
def splits(few_digits, tmp_path):
    """A training and a test split of three classes, as the rule `synthesize_dataset` leaves them."""
    from ddbias.data.split import save_split

    paths = {part: str(tmp_path / "data" / f"{part}.arrow") for part in ("train", "test")}
    for part, path in paths.items():
        split = few_digits(part)
        split.meta["convention"] = {"train": "natural", "test": "balanced"}[part]
        save_split(path, split)
    return SimpleNamespace(**paths, **{f"{part}_split": few_digits(part) for part in paths})


@pytest.fixture
def snakemake(tmp_path, torch_as_before, monkeypatch):
    """Build what Snakemake hands to a script: `snakemake(rule, input=, output=, params=, wildcards=)`.

    Every rule that computes has the seed 0 unless `params` say otherwise, one thread of the processor, and a state.
    """
    from ddbias.base.environment import RUN_PID
    from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards

    monkeypatch.delenv(RUN_PID, raising=False)
    common = {"seed": 0, "device": "cpu", "threads": 1, "precision": "exact"}
    common["state"] = str(tmp_path / "state.safetensors")

    def flat(files, named):
        """Fill `files` as Snakemake does: a list of all, in which a name stands for one file or a stretch."""
        for name, value in named.items():
            many = isinstance(value, list)
            start = len(files)
            files.extend(value if many else [value])
            files._set_name(name, start, end=len(files) if many else None)
        return files

    def build(rule, *, input, output, params, wildcards=()):
        return SimpleNamespace(
            rule=rule,
            input=flat(InputFiles(), input),
            output=OutputFiles(fromdict={name: str(path) for name, path in output.items()}),
            params=Params(fromdict=common | params),
            wildcards=Wildcards(fromdict=dict(wildcards)),
            config={"plugins": [], "data": {}},
            log=Log(toclone=[str(tmp_path / "logs" / f"{rule}.log")]),
        )

    return build


@pytest.fixture
def cell():
    """The wildcards of a distilled set."""
    cell = {"study": "digits", "scale": "quick", "dataset": "digits_fg", "ratio": "0.8", "distiller": "random"}
    return cell | {"debias": "uniform", "ipc": "5", "seed": "0"}


@pytest.fixture
def distilled(splits, cell, tmp_path):
    """Write every fourth training image, or with `whole` the rows of all, as the rule `distill` does."""
    import torch
    from ddbias.distill import write
    from ddbias.distill.engine import Distilled

    def distilled(name, *, whole=False, formation=1):
        split = splits.train_split
        rows = torch.arange(0, 60, 1 if whole else 4)
        images = None if whole else split.normalize(torch.from_numpy(split.images[rows.numpy()]))
        folder = tmp_path / f"distilled of {name}"
        names = ("distilled.safetensors", "history.parquet", "preview.png", "run.json")
        outputs = SimpleNamespace(**{n.split(".")[0]: str(folder / n) for n in names})
        write.save(
            Distilled(torch.from_numpy(split.labels)[rows], images, rows, {}, formation=formation),
            split,
            cell=cell,
            settings={},
            provenance={"device": "cpu", "device_type": "AVX2"},
            outputs=outputs,
            run=write.Run(),
        )
        return outputs.distilled

    return distilled
