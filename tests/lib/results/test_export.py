"""What is exported is what was distilled: re-read by the documented formats, not by the code that wrote it."""

import hashlib
import inspect
import io
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from ddbias import __version__
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.distilled import load_distilled
from ddbias.data.split import normalize, save_split
from ddbias.evaluation.records import COLUMNS as EVALUATION_COLUMNS
from ddbias.results.export import dd_ranking
from ddbias.results.export.croissant import CITE_AS
from ddbias.results.export.folder import check, is_exported, replaced
from ddbias.results.export.write import export_study
from PIL import Image
from pyarrow import parquet
from rocrate.rocrate import ROCrate

ROOT = Path(__file__).resolve().parents[3]
RESOURCES = ROOT / "workflow" / "resources"
MEAN, STD = [0.2, 0.4, 0.6], [0.3, 0.2, 0.25]
NAMES = ["airplane", "no", "2"]  # the second one is false in careless YAML
FIRST = "colours-0.95-dm-kde-ipc2-seed0"


def write_set(
    results, *, debias="kde", seed=0, distiller="dm", images=True, shape=(3, 8, 8), soft_labels=None, **changes
):
    """Write a distilled set of three classes with values below 0 and above 255, its labels in no order."""
    cell = {"dataset": "colours", "ratio": "0.95", "distiller": distiller, "debias": debias, "ipc": "2"}
    folder = results / "distilled" / "/".join(cell.values()) / f"seed{seed}"
    pixels = torch.randint(-40, 300, (6, *shape), generator=torch.Generator().manual_seed(seed))
    labels = torch.tensor([2, 0, 1, 1, 0, 2])
    mean, std = MEAN[: shape[0]], STD[: shape[0]]
    meta = {"kind": "distilled", "study": "mine", "scale": "quick", **cell, "seed": seed, "label_names": NAMES}
    meta |= {"mean": mean, "std": std, "provenance": {"torch": "2.13.0", "host": "secret"}}
    meta |= {"settings": {"distiller": {"kind": distiller, "lr": 0.5}, "debias": {"kind": debias}, "network": None}}
    tensors = {"labels": labels}
    if images:
        tensors["images"] = normalize(pixels, mean, std)
    else:
        tensors["index"] = torch.arange(6)
    if soft_labels is not None:
        tensors["soft_labels"] = soft_labels
    store.write_tensors(folder / "distilled.safetensors", tensors, meta | changes)
    run = {"commit": "0123456789ab+", "date": "2026-01-31T10:00:00+00:00", "seconds": 75.5, "host": "secret"}
    store.write_json(folder / "run.json", run)
    return folder / "distilled.safetensors"


def write_evaluation(path, meta, values, **facts):
    rows = [("unbiased_accuracy", repeat, value) for repeat, value in enumerate(values)]
    row = {key: str(meta[key]) for key in ("study", "scale", "dataset", "ratio", "distiller", "debias", "ipc")}
    columns = {key: [value] * len(rows) for key, value in row.items()} | {"seed": [meta["seed"]] * len(rows)}
    columns |= {"evaluation": ["convnet"] * len(rows), "support": [50] * len(rows)}
    columns |= dict(zip(("metric", "repeat", "value"), map(list, zip(*rows, strict=True)), strict=True))
    store.write_table(path, {name: columns[name] for name in EVALUATION_COLUMNS}, {"convention": "balanced"} | facts)


@pytest.fixture
def results(tmp_path, few_digits):
    """Two finished sets of a study, the first one evaluated, and the training split of a coloured data set."""
    results = tmp_path / "results"
    path = write_set(results)
    write_set(results, debias="uniform", seed=1, shape=(1, 8, 8))
    write_evaluation(results / "evaluations/convnet.parquet", load_distilled(path).meta, [0.75, 0.7])
    save_split(results / "data/colours/0.95/train.arrow", few_digits())
    return results


def export(results, folder, *, planned=5):
    found = {name: sorted(results.rglob(pattern)) for name, pattern in PATTERNS.items()}
    export_study(
        study="mine",
        scale="quick",
        folder=folder,
        planned=planned,
        card=RESOURCES / "dataset_card.md",
        readme=RESOURCES / "dd_ranking.md",
        summary=results / "summary.md",
        **found,
    )
    return folder / "huggingface", folder / "dd-ranking", (results / "summary.md").read_text()


PATTERNS = {
    "distilled": "distilled.safetensors",
    "runs": "run.json",
    "trains": "train.arrow",
    "evaluations": "convnet.parquet",
}


def original(results, name=FIRST):
    dataset, ratio, distiller, debias, ipc, seed = name.split("-")
    return load_distilled(results / "distilled" / dataset / ratio / distiller / debias / ipc.removeprefix("ipc") / seed)


def front_matter(hub):
    text = (hub / "README.md").read_text()
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


def decoded(column):
    return [np.array(Image.open(io.BytesIO(image["bytes"]))) for image in column.to_pylist()]


def test_parquet_holds_the_pixels_in_the_encoding_of_the_hub(results, tmp_path):
    hub, _, _ = export(results, tmp_path / "out")
    head = front_matter(hub)
    assert [config["config_name"] for config in head["configs"]] == [FIRST, "colours-0.95-dm-uniform-ipc2-seed1"]
    for config, info in zip(head["configs"], head["dataset_info"], strict=True):
        (file,) = config["data_files"]
        table = parquet.read_table(hub / file["path"])
        chosen = original(results, config["config_name"])
        for image, pixels in zip(decoded(table["image"]), chosen.pixels(), strict=True):
            assert np.array_equal(image if image.ndim == 3 else image[..., None], pixels.permute(1, 2, 0).numpy())
        assert table["label"].to_pylist() == chosen.labels.tolist()
        features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
        assert features == {"image": {"_type": "Image"}, "label": {"names": NAMES, "_type": "ClassLabel"}}
        assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"
        names = info["features"][1]["dtype"]["class_label"]["names"]
        assert names == {"0": "airplane", "1": "no", "2": "2"}
        (split,) = info["splits"]
        assert (split["name"], split["num_examples"]) == ("train", 6)
        assert split["num_bytes"] == pytest.approx(table.nbytes, rel=0.02)


def test_the_exact_tensors_lie_beside_it_decoded(results, tmp_path):
    write_set(results, seed=2, formation=2)
    hub, _, _ = export(results, tmp_path / "out")
    for name in (FIRST, "colours-0.95-dm-kde-ipc2-seed2"):
        before, after = original(results, name), load_distilled(hub / "data" / name)
        for left, right in zip(before.tensors(), after.tensors(), strict=True):
            assert torch.equal(left, right)
        assert len(after) == len(after.images)
        table = parquet.read_table(hub / f"data/{name}/train-00000-of-00001.parquet")
        assert len(table) == len(before)


def test_the_card_says_how_it_was_made_and_no_more(results, tmp_path):
    write_set(results, distiller="random", seed=3)
    hub, _, _ = export(results, tmp_path / "out")
    text, head = (hub / "README.md").read_text(), front_matter(hub)
    assert head["task_categories"] == ["image-classification"]
    assert head["size_categories"] == ["n<1K"]
    assert head["license"] == "other"
    assert "| 0123456789ab+ |" in text
    assert f"| `{FIRST}` | convnet |  | 72.5 ± 2.5 |  | 2 |" in text
    assert "**distilled from biased data**" in text
    assert "- `colours`, ratio 0.95: mean 0.2, 0.4, 0.6, std 0.3, 0.2, 0.25\n" in text
    assert "- `colours`, ratio 0.95: mean 0.2, std 0.3\n" in text  # the grey one
    assert "images of digits" in text
    assert "CC BY 4.0" in text
    assert '"lr": 0.5' in text
    assert "torch 2.13.0" in text
    assert "$" not in text
    assert "secret" not in text
    assert str(tmp_path) not in text
    values = original(results).images * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)
    share = 100 * ((values * 255 < -0.5) | (values * 255 > 255.5)).float().mean()
    assert share > 5
    assert f"| 3 x 8 x 8 | {share:.1f} % |" in text


def test_the_card_says_how_many_networks_diverged(results, tmp_path):
    confidence = [np.ones((15, 3)).tolist(), None]
    path = results / "evaluations/convnet.parquet"
    write_evaluation(path, original(results).meta, [0.75, 0.7], confidence=confidence)
    hub, _, _ = export(results, tmp_path / "out")
    assert f"| `{FIRST}` | convnet |  | 72.5 ± 2.5 (1 diverged) |  | 2 |" in (hub / "README.md").read_text()


def test_the_card_says_that_networks_see_whitened_images(results, tmp_path):
    write_set(results, distiller="random", seed=3, whitened=True)
    hub, _, _ = export(results, tmp_path / "out")
    lines = [line for line in (hub / "README.md").read_text().splitlines() if "std 0.3, 0.2, 0.25" in line]
    assert sorted("ZCA-whitened" in line for line in lines) == [False, True]


def test_croissant_is_valid_and_everything_in_it_resolves(results, tmp_path):
    write_set(results, soft_labels=torch.full((6, 3), 1 / 3), temperature=20)
    hub, _, _ = export(results, tmp_path / "out")
    described = json.loads((hub / "croissant.json").read_text())
    schema = json.loads((ROOT / "workflow/schemas/croissant.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(described, schema)
    assert described["datePublished"] == "2026-01-31"
    files = {file["@id"]: file for file in described["distribution"]}
    assert len(files) == 4
    for file in files.values():
        content = (hub / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
        assert file["contentSize"] == f"{len(content)} B"
    fields = {field["@id"]: field for records in described["recordSet"] for field in records["field"]}
    nodes = [*files, *fields, *(records["@id"] for records in described["recordSet"])]
    assert len(nodes) == len(set(nodes))
    for field in fields.values():
        if "source" in field:
            path = files[field["source"]["fileObject"]["@id"]]["contentUrl"]
            assert field["source"]["extract"]["column"] in parquet.read_schema(hub / path).names
        if "references" in field:
            assert field["references"]["field"]["@id"] in fields
    assert [name for name in fields if name.endswith("soft_label")] == [f"{FIRST}/soft_label"]
    (labels,) = [records for records in described["recordSet"] if "data" in records]
    assert [row["colours_labels/name"] for row in labels["data"]] == NAMES
    assert {key for row in labels["data"] for key in row} <= set(fields)


def test_the_provenance_is_a_workflow_run_crate(results, tmp_path):
    """Read by the library of RO-Crate; then what the profiles 0.5 say that MUST be there."""
    hub, _, _ = export(results, tmp_path / "out")
    crate = ROCrate(hub)
    root, workflow = crate.root_dataset, crate.mainEntity
    for permalink in ("process/0.5", "workflow/0.5"):
        assert crate.get(f"https://w3id.org/ro/wfrun/{permalink}").type == "CreativeWork"
        assert f"https://w3id.org/ro/wfrun/{permalink}" in [one.id for one in root["conformsTo"]]
    assert {"https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"} == {
        one if isinstance(one, str) else one.id for one in crate.metadata["conformsTo"]
    }
    assert str(root["datePublished"]).startswith("2026-01-31")
    assert "CC BY 4.0" in root["license"]["name"]
    assert set(workflow.type) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    assert workflow["programmingLanguage"]["name"] == "Snakemake"
    assert b"distill" in (hub / workflow.id).read_bytes()
    files = {one.id: one for one in crate.data_entities}
    listing = set(json.loads((hub / ".ddbias-export.json").read_text())) - {"ro-crate-metadata.json"}
    assert set(files) == listing
    for path, file in files.items():
        assert file["sha256"] == hashlib.sha256((hub / path).read_bytes()).hexdigest()
    actions = root["mentions"]
    assert [action["name"] for action in actions] == [f"Distillation of {name}" for name in subsets(hub)]
    for action, name in zip(actions, subsets(hub), strict=True):
        assert (action.type, action["instrument"].id) == ("CreateAction", workflow.id)
        assert (action["startTime"], action["endTime"]) == ("2026-01-31T10:00:00+00:00", "2026-01-31T10:01:15+00:00")
        assert {one.id.split("/")[1] for one in action["result"]} == {name}
        source, *given = action["object"]
        assert "CC BY 4.0" in source["license"]
        values = {one["name"]: one["value"] for one in given}
        assert "{dataset}-{ratio}-{distiller}-{debias}-ipc{ipc}-seed{seed}".format(**values) == name
        assert json.loads(values["settings of the distiller"]) == {"kind": "dm", "lr": 0.5}
        assert {one["name"]: one["value"] for one in action["environment"]} == {"torch": "2.13.0"}
        assert "0123456789ab+" in action["description"]
    text = (hub / "ro-crate-metadata.json").read_text()
    assert "secret" not in text
    assert str(tmp_path) not in text
    graph = json.loads(text)["@graph"]
    names = [one["@id"] for one in graph]
    assert len(set(names)) == len(names)
    pointed = set(re.findall(r'\{"@id": "([^"]+)"\}', json.dumps(graph)))
    assert pointed <= {*names, "https://w3id.org/ro/crate/1.1"}


def subsets(hub):
    return [config["config_name"] for config in front_matter(hub)["configs"]]


def test_the_citation_is_that_of_the_repository():
    ours = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f"title = {{{ours['title']}}}" in CITE_AS
    assert f"author = {{{{{ours['authors'][0]['name']}}}}}" in CITE_AS
    assert f"version = {{{__version__}}}" in CITE_AS


def test_hugging_face_datasets_reads_it(results, tmp_path, monkeypatch):
    pytest.importorskip(
        "datasets", reason="a heavy library that only this test would need; the format is checked above"
    )
    from datasets import load_dataset

    hub, _, _ = export(results, tmp_path / "out")
    train = load_dataset(str(hub), FIRST, split="train", cache_dir=str(tmp_path / "cache"))
    assert train.features["label"].names == NAMES
    for image, pixels in zip(train["image"], original(results).pixels(), strict=True):
        assert np.array_equal(np.asarray(image), pixels.permute(1, 2, 0).numpy())


def test_croissant_library_reads_it(results, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant", reason="only this test would need it; the format is checked above")
    hub, _, _ = export(results, tmp_path / "out")
    described = mlcroissant.Dataset(jsonld=str(hub / "croissant.json"))
    records = list(described.records(FIRST))
    assert [record[f"{FIRST}/label"] for record in records] == original(results).labels.tolist()


class Evaluator:
    """The documented interface of DD-Ranking's evaluators, and what they do with the images: load, check, list."""

    def __init__(self, *, dataset, ipc, im_size, model_name, **training):
        self.ipc, self.im_size, self.training = ipc, im_size, training
        assert {"device", "num_epochs", "data_aug_func"} <= set(training)

    def compute_metrics(self, image_tensor=None, image_path=None, hard_labels=None, syn_lr=None, lrs_lambda=0.5):
        assert (image_tensor is None) != (image_path is None)
        if image_path is not None:
            from ddbias.datasets.sources.torchvision_compat import torchvision

            read = torchvision.datasets.ImageFolder(root=image_path, transform=self.training["custom_train_trans"])
            return torch.stack([image for image, _ in read]), torch.tensor([label for _, label in read])
        assumed = torch.arange(len(image_tensor) // self.ipc).repeat_interleave(self.ipc)
        assert torch.equal(hard_labels, assumed)  # what is taken when none are given
        assert image_tensor.shape[2:] == self.im_size
        return image_tensor, hard_labels


@pytest.fixture
def ddranking(monkeypatch):
    module = ModuleType("ddranking")
    module.metrics = SimpleNamespace(LabelRobustScoreHard=Evaluator)
    monkeypatch.setitem(sys.modules, "ddranking", module)
    monkeypatch.setitem(sys.modules, "ddranking.metrics", module.metrics)


def test_the_snippet_for_dd_ranking_gives_its_evaluator_the_images(results, tmp_path, ddranking):
    _, folder, _ = export(results, tmp_path / "out")
    text = (folder / "README.md").read_text()
    snippet = text.split("```python\n")[1].split("```")[0].replace("path/to/one/set", str(folder / FIRST))
    assert "print(" in snippet
    space = {}
    exec(snippet.replace("print(", "result = ("), space)
    images, labels = space["result"]
    chosen = original(results)
    order = torch.argsort(chosen.labels, stable=True)
    assert torch.equal(images, chosen.images[order])  # of no data set that DD-Ranking has: as here
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert space["settings"]["dataset"] is None
    assert space["settings"]["label_names"] == NAMES
    assert not (folder / FIRST / "lr.pt").exists()


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 8, 8)])
def test_images_of_cifar10_are_normalised_as_dd_ranking_does(tmp_path, shape):
    from ddbias.datasets.sources.torchvision_compat import torchvision

    chosen = load_distilled(write_set(tmp_path, shape=shape, learning_rate=0.03))
    entry = SimpleNamespace(distilled=chosen, meta=chosen.meta, source={"source": "cifar10"}, name="x")
    dd_ranking.write_set(tmp_path / "set", entry)
    settings = json.loads((tmp_path / "set/settings.json").read_text())
    known = shape == (3, 32, 32)
    assert settings["dataset"] == ("CIFAR10" if known else None)
    # The constants of its get_dataset, or those of the set where it cannot have been made from whole CIFAR-10 images.
    mean, std = ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]) if known else (MEAN, STD)
    assert (settings["mean"], settings["std"]) == (mean, std)
    tensors = {name: torch.load(tmp_path / f"set/{name}.pt", weights_only=True) for name in ("images", "labels", "lr")}
    order = torch.argsort(chosen.labels, stable=True)
    raw = chosen.images[order].double() * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    expected = (raw - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert tensors["images"].dtype == torch.float32
    torch.testing.assert_close(tensors["images"].double(), expected, atol=1e-5, rtol=0)
    assert tensors["lr"].item() == pytest.approx(0.03)
    # The folder of images, with the transform that the README tells, gives the same but for 8 bits.
    transforms = torchvision.transforms
    told = {"dataset": "CIFAR10", "ipc": 2, "im_size": shape[1:], "model_name": "ConvNet-3", "device": "cpu"}
    told |= {"num_epochs": 1, "data_aug_func": "dsa"}
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    evaluator = Evaluator(custom_train_trans=transform, **told)
    images, labels = evaluator.compute_metrics(image_path=str(tmp_path / "set/images"))
    assert torch.equal(labels, tensors["labels"])
    clipped = (raw.clamp(0, 1) - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert (images - clipped).abs().max() < 0.51 / 255 / min(std)


def test_the_documented_interface_is_the_one_that_the_stand_in_has():
    """As DD-Ranking's page on LabelRobustScoreHard has it, so that an edit of the stand-in is noticed."""
    parameters = list(inspect.signature(Evaluator.compute_metrics).parameters)[1:]
    assert parameters == ["image_tensor", "image_path", "hard_labels", "syn_lr", "lrs_lambda"]


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_sets_give_the_same_bytes_and_an_equal_export_is_left_alone(results, tmp_path):
    export(results, tmp_path / "one")
    export(results, tmp_path / "two")
    first = content(tmp_path / "one")
    assert first == content(tmp_path / "two")
    dates = {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*")}
    export(results, tmp_path / "one")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "one").rglob("*") if path in dates} == dates
    write_set(results, seed=9)
    hub, _, _ = export(results, tmp_path / "one")
    assert len(front_matter(hub)["configs"]) == 3
    assert not [path for path in (tmp_path / "one").iterdir() if path.name.startswith(".")]
    assert is_exported(tmp_path / "one")


def test_missing_sets_and_those_without_images_are_told(results, tmp_path):
    write_set(results, distiller="whole", images=False)
    hub, _, summary = export(results, tmp_path / "out", planned=5)
    assert "2 distilled sets" in summary
    assert "missing: 2 of 5 sets" in summary
    assert "whole/kde/2/seed0: it holds only indices" in summary
    assert len(front_matter(hub)["configs"]) == 2


def test_nothing_to_export_is_one_line(tmp_path):
    with pytest.raises(DdbiasError, match="none of the 3 distilled sets is finished"):
        export(tmp_path, tmp_path / "out", planned=3)
    write_set(tmp_path, distiller="whole", images=False)
    with pytest.raises(DdbiasError, match=r"nothing to export: .*only indices"):
        export(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["huggingface", "dd-ranking"])
def test_a_folder_that_holds_something_else_is_left_alone(results, tmp_path, name):
    out = tmp_path / "out"
    (out / name).mkdir(parents=True)
    (out / name / "README.md").write_text("mine")
    with pytest.raises(DdbiasError, match="holds something that is no export; move it away"):
        export(results, out)
    assert content(out) == {f"{name}/README.md": b"mine"}


def test_what_was_added_or_edited_in_an_export_is_not_lost(results, tmp_path):
    hub, _, _ = export(results, tmp_path / "out")
    (hub / "note.txt").write_text("mine")
    with pytest.raises(DdbiasError, match=r"holds note\.txt, which was not exported"):
        export(results, tmp_path / "out")
    (hub / "note.txt").unlink()
    with open(hub / "README.md", "a") as file:
        file.write("mine")
    with pytest.raises(DdbiasError, match=r"README\.md was changed by hand"):
        export(results, tmp_path / "out")
    (hub / "README.md").unlink()  # what is gone may be made again
    export(results, tmp_path / "out")
    assert "mine\n" not in (hub / "README.md").read_text()


def test_a_set_of_somebody_else_leads_to_no_other_folder(results, tmp_path):
    write_set(results, seed=7, dataset="../../outside")
    with pytest.raises(DdbiasError, match=r"says that it is '\.\./\.\./outside-0\.95.*cannot name a folder"):
        export(results, tmp_path / "out")
    assert not list(tmp_path.glob("**/outside*"))


def test_links_and_files_in_the_place_of_a_folder_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("file", "link", "broken", "file/hub"):
        with pytest.raises(DdbiasError, match="is not a folder"):
            check(tmp_path / name)


def test_a_killed_export_leaves_the_old_content_or_none(tmp_path):
    folder = tmp_path / "folder"
    with replaced(folder) as part:
        (part / "a").write_text("old")
    pid = os.fork()
    if pid == 0:
        with replaced(folder) as part:
            (part / "a").write_text("half")
            os._exit(9)
    assert os.waitpid(pid, 0)[1] >> 8 == 9
    assert (folder / "a").read_text() == "old"
    with pytest.raises(RuntimeError), replaced(folder) as part:
        raise RuntimeError
    assert (folder / "a").read_text() == "old"
    with replaced(folder) as part:
        assert not list(part.iterdir())
        (part / "b").write_text("new")
    assert sorted(content(folder)) == [".ddbias-export.json", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_images_that_png_cannot_hold_are_left_out(results, tmp_path):
    write_set(results, seed=5, shape=(2, 8, 8))
    _, _, summary = export(results, tmp_path / "out")
    assert "2 channels, which PNG has not" in summary


def test_soft_labels_go_with_the_images(results, tmp_path):
    soft = torch.rand(6, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    write_set(results, soft_labels=soft, temperature=20)
    hub, ranking, _ = export(results, tmp_path / "out")
    table = parquet.read_table(hub / f"data/{FIRST}/train-00000-of-00001.parquet")
    np.testing.assert_array_equal(np.array(table["soft_label"].to_pylist(), np.float32), soft.numpy())
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["soft_label"] == {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    after = load_distilled(hub / "data" / FIRST).soft_labels
    assert torch.equal(after.probabilities, soft)
    assert after.temperature == 20
    (folder,) = (path.parent for path in ranking.rglob("soft_labels.pt"))
    labels = torch.load(folder / "labels.pt", weights_only=True)
    stored = torch.load(folder / "soft_labels.pt", weights_only=True)
    # As DD-Ranking's losses read them: the softmax of logits at a temperature.
    torch.testing.assert_close((stored / 20).softmax(1), soft[torch.tensor([1, 4, 2, 3, 0, 5])])
    assert json.loads((folder / "settings.json").read_text())["loss_fn_kwargs"] == {"temperature": 20}
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
