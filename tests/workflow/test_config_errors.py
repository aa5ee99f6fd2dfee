"""What a user sees of a mistake in a study file: readable lines, no traceback, no job."""

import os

import pytest
import yaml


def said(checkout, config, *extra):
    """Run a wrong study; return what is said of it, after checking that nothing was done."""
    status, output = checkout.run(config, *extra)
    assert status == 1
    assert "Traceback" not in output
    assert not (checkout / "results").exists()
    first, *lines = output.splitlines()
    assert first.startswith(f"ddbias: starting Snakemake on {config or 'config.yaml'} with")
    return [line for line in lines if not line.startswith("Config file config.yaml is extended")]


def test_every_mistake_is_one_line_that_names_the_file(checkout):
    study = yaml.safe_load((checkout / checkout.study()).read_text())
    study["grid"][0] |= {"ratios": [1.2], "sedes": [0]}
    checkout.study("my study.yaml", threads=0, grid=study["grid"])
    keys = "dataset, ratios, distillers, debias, ipc, seeds, evaluations"
    assert said(checkout, "my study.yaml") == [
        "ddbias: my study.yaml: threads = 0: must be at least 1",
        "ddbias: my study.yaml: grid[0].ratios[0] = 1.2: must be at most 1",
        f"ddbias: my study.yaml: grid[0].sedes: unknown key; known: {keys}. Did you mean 'seeds'?",
    ]


def test_a_mistake_on_the_command_line_names_it(pristine):
    (line,) = said(pristine, "", "--config", "devise=cpu")
    assert line.startswith("ddbias: config.yaml, --config devise: devise = 'cpu': unknown key; known: study, scale, ")
    assert line.endswith("Did you mean 'device'?")
    (line,) = said(pristine, "", "--config", "scale=quik")
    assert line.endswith("scale = 'quik': must be one of paper, fast, quick. Did you mean 'quick'?")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "a study is a mapping of keys"),
        ("- a list\n", "a study is a mapping of keys"),
        ("study: [\n", "line 2, column 1: while parsing a flow node"),
        ("study: mine\n\tscale: fast\n", "line 2, column 1: "),
        ("__use_yte__: true\nstudy: ?open('it ran', 'w')\n", "line 1, column 1: __use_yte__ would run Python code"),
    ],
)
def test_what_is_no_study_at_all_is_said_readably(checkout, content, line):
    (checkout / "wrong.yaml").write_text(content)
    for extra in ((), ("--dry-run",)):
        status, output = checkout.run("wrong.yaml", *extra)
        assert status == 1
        assert output.startswith(f"ddbias: wrong.yaml: {line}")
        assert output.count("\n") == 1
    assert not (checkout / "it ran").exists()


@pytest.mark.parametrize(
    "extra",
    [
        ["--configfile", "evil.yaml"],
        ["--configfile=evil.yaml"],
        ["--configfiles", "tiny.yaml", "evil.yaml", "--lint"],
        ["--directory", "theirs", "report"],
        ["-dtheirs"],
    ],
)
@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("__use_yte__: true\nstudy: ?open('it ran', 'w')\n", "line 1, column 1: __use_yte__ would run Python code"),
        ("study: !!python/object/apply:os.mkdir ['it ran']\n", "line 1, column 8: could not determine a constructor"),
    ],
)
def test_nothing_in_a_study_file_runs_however_it_is_named(checkout, extra, content, line):
    checkout.study()
    (checkout / "theirs").mkdir()
    for path in ("evil.yaml", "theirs/config.yaml"):
        (checkout / path).write_text(content)
    status, output = checkout.run("", "-n", *extra)
    assert status == 1
    name = "evil.yaml" if "evil.yaml" in " ".join(extra) else "theirs/config.yaml"
    assert output.startswith(f"ddbias: {name}: {line}")
    assert output.count("\n") == 1
    assert not list(checkout.folder.rglob("it ran"))


def test_a_damaged_file_is_said_by_its_job_in_one_line(checkout):
    """What can only be known while a job works is its last words, and the run ends with an error."""
    for name in ("train.parquet", "test.parquet"):
        (checkout / name).write_bytes(b"not parquet")
    study = yaml.safe_load((checkout / checkout.study()).read_text())
    source = {"kind": "parquet", "train": "train.parquet", "test": "test.parquet"}
    study["datasets"]["digits_fg"]["source"] = source
    checkout.study(datasets=study["datasets"])
    status, output = checkout.run("tiny.yaml", "datasets")
    assert status == 1
    assert "Traceback" not in output
    assert "ddbias: train.parquet is damaged or not a Parquet file" in output
    assert not list((checkout / "results").rglob("*.arrow"))


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("loop", "is a link to a folder that it lies in; remove the link"),
        ("locked", "cannot be read (Permission denied)"),
    ],
)
def test_a_folder_of_images_that_cannot_be_listed_is_one_line(checkout, wrong, line):
    """It is listed while the run is planned, before there is a job that could say so."""
    folder = checkout / "photos/train/a"
    folder.mkdir(parents=True)
    if wrong == "loop":
        (folder / wrong).symlink_to(folder)
    else:
        (folder / wrong).mkdir(mode=0)
        if os.access(folder / wrong, os.R_OK):
            pytest.skip("this user may read everything")
    source = {"kind": "image_folder", "train": "photos/train", "test": "photos/train"}
    tiny = yaml.safe_load((checkout / checkout.study()).read_text())
    grid = [{**entry, "ratios": ["natural"]} for entry in tiny["grid"]]
    checkout.study(datasets={"digits_fg": {"source": source, "bias": "none", "size": 20}}, grid=grid, figures={})
    status, output = checkout.run("tiny.yaml", "datasets")
    assert status == 1
    assert "Traceback" not in output
    assert "Exception" not in output
    assert output.splitlines()[-1].startswith(f"ddbias: photos/train/a/{wrong} {line}")
    assert output.count("photos/train") == 1
