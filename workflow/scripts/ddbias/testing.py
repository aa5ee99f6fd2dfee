"""The contract that every distiller keeps, built in or of a plug-in, as a check for tests and for the command line.

``python -m ddbias.testing mine.py`` checks the distillers of a plug-in with every debias;
`check_distiller` does it in a test. A few steps on real digits of 8x8 pixels: seconds on a CPU.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError, PluginError
from ddbias.base.terminal import terminal
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.debias.apply import real_settings
from ddbias.debias.estimation import estimate_weights
from ddbias.debias.real_side import RealSettings
from ddbias.distill import engine, pretraining
from ddbias.distill.engine import Distilled
from ddbias.planning.config import complete, load_schema
from ddbias.runtime.checkpoint import Checkpoint

CPU = torch.device("cpu")
STEPS = 3
IPC = 2
# Work of built-in options, where a distiller has them: as little as makes a difference.
SMALL = {"iterations": STEPS, "real_batch": 12, "outer_loop": 2, "inner_loop": 1, "epochs": 1}
SMALL |= {"syn_steps": 2, "expert_epochs": 1, "max_start": 1, "network_images": 32, "network_batch": 16}
NAMED = {"network": "small", "models": "pool", "surrogate": "probe"}  # what a required name stands for here
STUDY = {
    "study": "contract",
    "scale": "paper",
    "datasets": {"digits": {"source": "digits", "bias": "foreground"}},
    "networks": {"small": {"kind": "convnet", "width": 8, "depth": 2}},
    "surrogates": {"probe": {"kind": "supcon", "network": "small"}},
    "models": {"pool": {"kind": "experts", "network": "small", "count": 1, "epochs": 3, "batch_size": 16}},
    "evaluations": {"small": {"network": "small"}},
    "grid": [
        {
            "dataset": "digits",
            "ratios": [0.8],
            "distillers": ["checked"],
            "debias": ["checked"],
            "ipc": [IPC],
            "seeds": [0],
            "evaluations": ["small"],
        }
    ],
}


def tiny_split(classes: int = 3, per_class: int = 20) -> Split:
    """Return real digits with a colour bias, 3x8x8 pixels: the first images of the first classes."""
    split, _ = synthesize_dataset(
        source={"kind": "digits"},
        bias={"kind": "foreground", "severity": 1},
        ratio=0.8,
        test="balanced",
        seed=0,
        data={},
    )
    members = [np.flatnonzero(split.labels == label) for label in range(classes)]
    rows = np.concatenate([some[np.linspace(0, len(some) - 1, per_class).astype(int)] for some in members])
    meta = {**split.meta, "label_names": split.meta["label_names"][:classes]}
    return Split(split.images[rows], split.labels[rows], split.attributes[rows], split.index[rows], meta)


def check_distiller(
    kind: str,
    *,
    folder: str | Path,
    debias: str | Mapping = "uniform",
    paths: Iterable[str | Path] = (),
    split: Split | None = None,
    device: torch.device = CPU,
    **changes: object,
) -> Distilled:
    """Run a distiller for three steps and check what every distiller has to keep.

    One that learns images: its loss and images are finite, every image is moved, the same seed gives the same result
    and another one another, and a job that was killed before its last step goes on to the identical result. One that
    selects: different real images of the right classes, the same for the same seed. One that assembles images: finite
    ones, others for another seed, and probabilities as soft labels.

    Parameters
    ----------
    kind : str
    folder : path
        Where states, and models if it needs any, are written.
    debias : str or mapping
        Kind of the debias, or kind and options; one that needs a surrogate gets what `probe_columns` returns.
    paths : iterable of path
        Plug-ins to make known, as under ``plugins:`` in a study.
    split : Split, optional
        By default `tiny_split`.
    device : device
        Where it runs.
    **changes
        Options of the distiller that differ from the small ones set here.

    Returns
    -------
    Distilled

    Raises
    ------
    AssertionError
        Naming what is not kept.
    DdbiasError
        What a user of the distiller would see, e.g. for a wrong option.
    """
    case = Case(kind, folder=folder, debias=debias, paths=paths, split=split, device=device, **changes)
    result = case.run()
    ipc = len(case.split) if case.settings["kind"] == "whole" else IPC * case.split.classes
    case.require(len(result.labels) == ipc, f"made {len(result.labels)} labels instead of {ipc}")
    case.require(_same(case.run(), result), "the same seed gave another result")
    if hasattr(plugins.module("distiller", kind), "Assembly"):
        _check_images(case, result)
        case.require(not torch.equal(case.run(seed=1).images, result.images), "another seed gave the same images")
    elif result.rows is None:
        _check_learner(case, result)
    else:
        _check_selection(case, result)
    return result


def _check_learner(case: Case, result: Distilled) -> None:
    images, state = result.images, case.folder / "state.safetensors"
    _check_images(case, result)
    case.require(bool(result.history), "no step reported anything, so there is no loss")
    steps = len(next(iter(result.history.values())))
    case.require(steps >= STEPS, f"reported {steps} steps")
    case.require(bool(np.isfinite(list(result.history.values())).all()), "what the steps reported is not finite")
    unmoved = (case.run(iterations=0).images == images).flatten(1).all(1)
    case.require(not unmoved.any(), f"{int(unmoved.sum())} images were not moved")
    case.require(not torch.equal(case.run(seed=1).images, images), "another seed gave the same images")
    stopping = _Watched(state, stop=steps - 1)
    try:
        case.run(checkpoint=stopping)
    except _Stopped:
        pass
    else:
        case.require(False, "a run was not stopped after a state was saved")
    resumed = _Watched(state)
    case.require(_same(case.run(checkpoint=resumed), result), "a run that was killed and went on gave another result")
    case.require(resumed.began == steps - 1, f"a killed run went on from step {resumed.began}, not {steps - 1}")
    state.unlink()


def _check_images(case: Case, result: Distilled) -> None:
    images, soft = result.images, result.soft_labels
    case.require(images.shape == (IPC * case.split.classes, *case.split.shape), f"images are {tuple(images.shape)}")
    case.require(images.dtype == torch.float32 and not images.requires_grad, "images must be plain float32")
    case.require(bool(images.isfinite().all()), "images are not finite")
    case.require(soft is None or soft.is_valid(len(images), case.split.classes), "soft labels are no probabilities")


def _check_selection(case: Case, result: Distilled) -> None:
    rows = result.rows.numpy()
    case.require(len(set(rows.tolist())) == len(rows), "an image was selected twice")
    case.require(np.array_equal(case.split.labels[rows], result.labels.numpy()), "labels are not those of the rows")
    counts = np.bincount(case.split.labels[rows], minlength=case.split.classes)
    even = case.settings["kind"] == "whole" or (counts == IPC).all()
    case.require(bool(even), f"the classes have {counts.tolist()} images")


class _Stopped(Exception):
    """Stands for a kill."""


class _Watched(Checkpoint):
    """Saves after every step; remembers where a run began, and stops one after a given step."""

    def __init__(self, path: Path, stop: int | None = None) -> None:
        super().__init__(path, "contract", every=0)
        self.stop, self.began = stop, None

    def load(self) -> tuple[int, dict[str, torch.Tensor]]:
        self.began, tensors = super().load()
        return self.began, tensors

    def save(self, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
        super().save(step, tensors)
        if step == self.stop:
            raise _Stopped


class Case:
    """One distiller with one debias, set up as a study would.

    Parameters are those of `check_distiller`, and ``ipc`` (int), how many images each class gets.
    """

    def __init__(
        self,
        kind: str,
        *,
        folder: str | Path,
        debias: str | Mapping = "uniform",
        paths: Iterable[str | Path] = (),
        split: Split | None = None,
        device: torch.device = CPU,
        ipc: int = IPC,
        **changes: object,
    ) -> None:
        paths, split = [str(path) for path in paths], split or tiny_split()
        wanted = {"kind": debias} if isinstance(debias, str) else dict(debias)
        self.name, self.folder = f"{kind} with {wanted['kind']}", Path(folder)
        self.split, self.device, self.ipc = split, device, ipc
        plugins.use(paths)
        definitions = load_schema(paths)["$defs"]
        distiller = _small(definitions["distiller"], kind)
        config = complete(
            {
                **STUDY,
                "plugins": paths,
                "distillers": {"checked": {**distiller, **changes}},
                "debias": {"checked": {**_small(definitions["debias"], wanted["kind"]), **wanted}},
            }
        )
        self.settings, self.debias = config["distillers"]["checked"], config["debias"]["checked"]
        self.network = config["networks"].get(self.settings.get("network"))
        self.real = _real_settings(self.debias, split, self.folder)
        self.models = self._pool(config) if self.settings.get("models") or self.settings.get("guidance") else {}

    def _pool(self, config: Mapping) -> dict[str, list[Path]]:
        settings, path = config["models"]["pool"], self.folder / "member0.safetensors"
        how = {"network": config["networks"]["small"], "settings": settings, "member": 0}
        snapshots = pretraining.train_member(
            self.split, weights=self.real.weights, device=self.device, checkpoint=Checkpoint(None), **how
        )
        pretraining.save_member(path, snapshots, self.split, provenance={}, **how)
        return {"pool": [path]}

    def run(self, *, seed: int = 0, checkpoint: Checkpoint | None = None, **changes: object) -> Distilled:
        """Make a set, with options of the distiller that differ from those of the case."""
        return engine.run(
            self.split,
            real=self.real,
            settings={**self.settings, **changes},
            network=self.network,
            ipc="all" if self.settings["kind"] == "whole" else self.ipc,
            seed=seed,
            device=self.device,
            precision="exact",
            checkpoint=checkpoint or Checkpoint(None),
            models=self.models,
        )

    def require(self, kept: bool, text: str) -> None:
        """Raise `AssertionError` with a text if something is not kept."""
        if not kept:
            raise AssertionError(f"{self.name}: {text}")


def _small(definitions: Mapping, kind: str) -> dict:
    """Return the settings of a kind with little work, and what it requires by name: a pool if it can have one."""
    definition = definitions.get(kind, {})
    options = {name: value for name, value in SMALL.items() if name in definition.get("properties", {})}
    required = {*definition.get("required", []), *({"models"} & definition.get("properties", {}).keys())}
    named = {name: value for name, value in NAMED.items() if name in required}
    return {"kind": kind, **options, **named}


def probe_columns(split: Split) -> dict[str, np.ndarray]:
    """Return what stands for a surrogate's columns in a check.

    The embedding is the pixels, the classifier the nearest mean of a class, and a sample's difficulty follows from its
    loss there.
    """
    pixels = split.normalize(torch.from_numpy(split.images)).flatten(1)
    labels = torch.from_numpy(split.labels)
    means = torch.stack([pixels[labels == label].mean(0) for label in range(split.classes)])
    logits = -torch.cdist(pixels, means)
    losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    return {
        "embedding": torch.nn.functional.normalize(pixels).numpy(),
        "index": split.index,
        "label": split.labels,
        "logits": logits.numpy(),
        "difficulty": (losses / (losses + losses.mean())).numpy(),
    }


def _real_settings(settings: Mapping, split: Split, folder: Path) -> RealSettings:
    """Return what a debias says, by way of a weights file where it uses a surrogate."""
    if settings.get("surrogate") is None:
        return real_settings(settings, split, None)
    found, path = estimate_weights(settings, probe_columns(split)), folder / "weights.parquet"
    columns = {"index": split.index, "weight": found.weights, "group": found.groups}
    store.write_table(path, {name: values for name, values in columns.items() if values is not None}, {})
    return real_settings(settings, split, path)


def _same(a: Distilled, b: Distilled) -> bool:
    soft = [result.soft_labels and result.soft_labels.probabilities for result in (a, b)]
    tensors = [(a.labels, b.labels), (a.images, b.images), (a.rows, b.rows), soft]
    return a.history == b.history and all(x is y is None or torch.equal(x, y) for x, y in tensors)


def main(paths: list[str]) -> int:
    """Check every distiller that plug-ins add with every debias; returns the number of those that keep not all."""
    plugins.use(paths)
    broken = 0
    added = [kind for kind, plugin in plugins.kinds("distiller").items() if not plugin.built_in]
    if not added:
        print(f"{', '.join(map(str, paths)) or 'no file'}: no distiller found; only distillers are checked")
    for kind, debias in itertools.product(added, plugins.kinds("debias")):
        with tempfile.TemporaryDirectory() as folder:
            try:
                check_distiller(kind, debias=debias, paths=paths, folder=folder)
                print(f"{kind} with {debias}: passed")
            except SystemExit as error:
                broken += 1
                print(f"{kind} with {debias}: leaves Python by sys.exit({error.code!r}); raise an error instead")
            except (AssertionError, DdbiasError) as error:
                broken += 1
                if isinstance(error, PluginError) and error.__cause__ is not None:
                    traceback.print_exception(error.__cause__)
                print(terminal(error))
    return broken


if __name__ == "__main__":
    torch.set_num_threads(1)
    try:
        sys.exit(main(sys.argv[1:]) > 0)
    except DdbiasError as error:
        sys.exit(f"ddbias: {terminal(error)}")
