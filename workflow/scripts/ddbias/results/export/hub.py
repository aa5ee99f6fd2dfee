"""A data set repository that ``datasets.load_dataset`` of Hugging Face reads from a folder or, uploaded, from the hub.

One repository for a study, one subset ("config") for a distilled set: the sets share one card, licence note and
citation, users download only the subsets that they load, and the owner uploads once. A repository for each set would
repeat the card and separate a debiased set from its baseline.

Written to the published conventions: images as struct {bytes, path} with PNG bytes, the features as JSON under the key
``huggingface`` of the Parquet schema, the subsets in the front matter of the card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from ddbias.data import soft_labels, store
from ddbias.data.distilled import DistilledSet
from ddbias.results.export.card import write_card
from ddbias.results.export.crate import write_crate
from ddbias.results.export.croissant import write_croissant
from ddbias.results.export.sets import ExportedSet

PARQUET = "data/{name}/train-00000-of-00001.parquet"  # the name that the hub's own uploads have
TENSORS = "data/{name}/distilled.safetensors"
IMAGES_IN_ROW_GROUP = 100  # what the hub's viewer reads at once


def write_repository(
    folder: Path, sets: Sequence[ExportedSet], *, study: str, scale: str, template: str | Path
) -> None:
    """Write the repository of a study's sets into an empty folder.

    Parameters
    ----------
    folder : Path
    sets : sequence of ExportedSet
    study, scale : str
    template : path
        The text of the card.
    """
    sizes = {}
    for entry in sets:
        path = folder / PARQUET.format(name=entry.name)
        path.parent.mkdir(parents=True)
        table = image_table(entry.distilled)
        parquet.write_table(table, path, compression="zstd", row_group_size=IMAGES_IN_ROW_GROUP)
        write_training_tensors(folder / TENSORS.format(name=entry.name), entry.distilled)
        sizes[entry.name] = table.nbytes
    write_card(folder / "README.md", sets, study=study, scale=scale, template=template, data_file=PARQUET, sizes=sizes)
    write_croissant(folder, sets, study=study, scale=scale, data_file=PARQUET, tensor_file=TENSORS)
    write_crate(folder, sets, study=study, scale=scale, parts=(PARQUET, TENSORS))


def image_table(distilled: DistilledSet) -> pa.Table:
    """Return the images to train on as uint8 PNG and their labels, in the encoding of Hugging Face ``datasets``."""
    contents = distilled.png_images()
    digits = len(str(max(len(contents) - 1, 0)))
    images = [{"bytes": content, "path": f"{index:0{digits}d}.png"} for index, content in enumerate(contents)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    labels = {"names": list(map(str, distilled.meta["label_names"])), "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": labels}
    columns = {"image": pa.array(images, kind), "label": pa.array(distilled.tensors()[1].numpy())}
    if soft := distilled.soft_targets():
        features["soft_label"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
        columns["soft_label"] = pa.array(soft.probabilities.tolist(), pa.list_(pa.float32()))
    return pa.table(columns).replace_schema_metadata({"huggingface": _json({"info": {"features": features}})})


def write_training_tensors(path: Path, distilled: DistilledSet) -> None:
    """Write the images to train on as exact float32, which `ddbias.data.distilled.load_distilled` reads again.

    Mosaics (``formation``) are written decoded, since other tools cannot decode them.
    """
    images, labels = distilled.tensors()
    meta = {key: value for key, value in distilled.meta.items() if key != "formation"}
    soft = distilled.soft_targets()
    more = {soft_labels.TENSOR: soft.probabilities} if soft else {}
    store.write_tensors(path, {"images": images, "labels": labels, **more}, meta)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
