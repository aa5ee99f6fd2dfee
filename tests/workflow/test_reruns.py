"""What runs again after a change: what the change can alter, and nothing else."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
import yaml
from ddbias.planning import code_digest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "workflow/scripts/ddbias"
SHOWN = {"make_table": 1, "plot": 1, "write_report": 1}  # what follows from new evaluations; weights are not replotted


# Loaded by every Python of a traced run: notes which files' functions a rule's script really calls, and for which job.
TRACER = """\
import atexit, json, os, sys

files, job, seen = set(), {}, set()


def profile(frame, event, argument):
    code = frame.f_code
    if event != "call" or id(code) in seen:
        return
    seen.add(id(code))
    if code.co_flags & 1:  # a function; bodies of modules and classes run whenever a module is imported
        files.add(code.co_filename)
        if code.co_name == "main" and "snakemake" in frame.f_locals:
            snakemake = frame.f_locals["snakemake"]
            job.update(rule=snakemake.rule, wildcards=dict(snakemake.wildcards), code=snakemake.params.code)


def write():
    sys.setprofile(None)
    with open(os.path.join(os.environ["TEST_TRACES"], f"{os.getpid()}.json"), "w") as file:
        json.dump(job | {"called": sorted(files)}, file)


class Start:
    def find_spec(self, name, path=None, target=None):
        if name == "ddbias.runtime.job" and not seen:
            atexit.register(write)
            sys.setprofile(profile)


sys.meta_path.insert(0, Start())
"""


def changed(checkout, change):
    """Apply a change to the tiny study in place."""
    study = yaml.safe_load((checkout / "tiny.yaml").read_text())
    change(study)
    (checkout / "tiny.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def now(checkout, *folders):
    """Give every file a date after those of all results."""
    later = time.time() + 60
    for folder in folders:
        for path in (checkout / folder).rglob("*"):
            if path.is_file():
                os.utime(path, (later, later))


def test_first_run_makes_everything_and_second_one_nothing(finished):
    results = finished / "results/tiny/quick"
    made = {str(path.relative_to(results)) for path in results.rglob("*.*")}
    for path in ("tables/main.csv", "figures/accuracy.svg", "report/index.html", "data/digits_fg/0.95/test.arrow"):
        assert path in made
    assert not [path for path in made if path.startswith("state/")]
    assert finished.planned("tiny.yaml") == {}


def kinds(rule, cell):
    """Return the kinds that a job of the tiny study uses, found by hand."""
    small = ("network", "convnet")
    debias = ("debias", cell.get("debias"))
    return {
        "synthesize_dataset": (("source", "digits"), ("bias", "foreground")),
        "train_surrogate": (("surrogate", "supcon"), small),
        "estimate_weights": (debias, small),  # small tries the weights out
        "distill": (("distiller", cell.get("distiller")), debias, *([small] if cell.get("distiller") == "dm" else [])),
        "evaluate": (small,),
        "train_attribute_model": (small,),
        "measure_images": (small, ("surrogate", "supcon"), small),
        "plot": (("figure", cell.get("figure")),),
    }.get(rule, ())


@pytest.mark.thorough
def test_every_file_that_a_job_calls_counts(checkout, tmp_path):
    """The digest that Snakemake compares is that of all files which the job was seen to call."""
    for folder in ("tracer", "traces"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tracer/sitecustomize.py").write_text(TRACER)
    variables = {"PYTHONPATH": str(tmp_path / "tracer"), "TEST_TRACES": str(tmp_path / "traces")}
    status, output = checkout.run(checkout.study(), **variables)
    assert status == 0, output
    traces = [json.loads(path.read_text()) for path in (tmp_path / "traces").iterdir()]
    rules = [trace["rule"] for trace in traces]
    assert {rule: rules.count(rule) for rule in rules} == {
        "synthesize_dataset": 1,
        "train_surrogate": 1,
        "estimate_weights": 1,
        "distill": 4,
        "evaluate": 4,
        "train_attribute_model": 1,
        "measure_images": 1,
        "make_table": 1,
        "plot": 2,
        "write_report": 1,
    }
    seen = set()
    for trace in traces:
        called = {path for path in trace["called"] if "/workflow/scripts/ddbias/" in path}
        names = {os.path.relpath(path, checkout.folder) for path in called}
        seen |= names
        without = tuple(f"{LIBRARY}/{name.replace('.', '/')}" for name in code_digest.WITHOUT_EFFECT)
        tracked = {name for name in names if not name.startswith(without) and not name.endswith("__init__.py")}
        used = trace["rule"], kinds(trace["rule"], trace["wildcards"])
        assert trace["code"] == code_digest.digest(*used), used
        assert tracked <= {os.path.relpath(path, ROOT) for path in code_digest.files(*used)}, used
    works = (
        *("distill/distribution_matching", "debias/weights/inverse_density", "debias/surrogate/supcon"),
        *("datasets/bias/colour", "results/figures/accuracy"),
    )
    assert {f"{LIBRARY}/{name}.py" for name in works} <= seen  # the tracer sees what surely was called


@pytest.mark.parametrize(
    ("path", "reruns"),
    [
        (f"{LIBRARY}/distill/distribution_matching.py", {"distill": 2, "evaluate": 2, **SHOWN}),
        pytest.param(
            f"{LIBRARY}/distill/engine.py",
            {"distill": 4, "evaluate": 4, "measure_images": 1, **SHOWN},
            marks=pytest.mark.thorough,
        ),
        (f"{LIBRARY}/results/figures/accuracy.py", {"plot": 1, "write_report": 1}),
        pytest.param(
            "workflow/scripts/make_table.py", {"make_table": 1, "write_report": 1}, marks=pytest.mark.thorough
        ),
    ],
    ids=["method", "loop", "figure", "script"],
)
def test_an_edit_reruns_what_it_is_part_of_and_what_follows(finished, path, reruns):
    finished.append(path)
    assert finished.planned("tiny.yaml") == reruns


@pytest.mark.thorough
def test_edit_of_how_images_are_looked_at_trains_nothing_again(finished):
    finished.append(f"{LIBRARY}/evaluation/images/measures.py")
    finished.append(f"{LIBRARY}/evaluation/debiased_training/learner.py")  # of the evaluations that train
    planned = finished.planned("tiny.yaml")
    assert planned == {"evaluate": 4, "measure_images": 1, **SHOWN}
    changed(finished, lambda study: study["evaluations"]["look"].update(repeats=3))
    assert finished.planned("tiny.yaml") == planned


def test_what_changes_no_result_reruns_nothing(finished):
    """All at once: one of them that mattered would be seen."""
    # Comments, docstrings, layout, moved files: what the code does is the same.
    finished.append(f"{LIBRARY}/distill/engine.py", "# edited\n")
    finished.append("workflow/scripts/distill.py", "\n\n# edited\n")
    seeding = finished / LIBRARY / "base/seeding.py"
    seeding.write_text(
        seeding.read_text().replace('"""', '"""In other words: ', 1).replace("names: object", "names:  object")
    )
    (finished / LIBRARY / "distill/engine.py").rename(finished / LIBRARY / "distill/loop.py")
    for path in (finished / "workflow").rglob("*.py"):
        text = path.read_text()
        path.write_text(
            text.replace("ddbias.distill.engine import", "ddbias.distill.loop import").replace(
                "ddbias.distill import engine", "ddbias.distill import loop as engine"
            )
        )
    # A network and a figure that are not used, and a new method.
    finished.append(f"{LIBRARY}/learning/networks/vgg.py")
    finished.append(f"{LIBRARY}/results/figures/images.py")
    text = (finished / LIBRARY / "distill/controls/random_selection.py").read_text()
    assert '"random": {' in text
    (finished / LIBRARY / "distill/newest.py").write_text(text.replace('"random": {', '"newest": {'))
    # A default that is written out, another order of keys, where the data lie, cores, dates.
    changed(finished, lambda study: study["debias"]["kde"].update(temperature=1))
    changed(finished, lambda study: study.update(grid=study.pop("grid"), data={"root": "elsewhere"}))
    changed(finished, lambda study: study["distillers"].update(dm=dict(reversed(study["distillers"]["dm"].items()))))
    now(finished, "workflow", "studies", "envs")
    assert finished.planned("tiny.yaml", "--cores", "1") == {}


@pytest.mark.thorough
def test_edit_of_a_number_reruns_what_uses_it(finished):
    embeddings = finished / LIBRARY / "debias/weights/inverse_density.py"
    text = embeddings.read_text()
    assert "weights = np.ones(len(labels))" in text
    embeddings.write_text(text.replace("weights = np.ones(len(labels))", "weights = np.ones(len(labels)) * 2"))
    planned = finished.planned("tiny.yaml")
    assert planned["estimate_weights"] == 1
    assert planned["distill"] == 1
    assert "synthesize_dataset" not in planned


@pytest.mark.thorough
def test_new_dates_of_results_too_rerun_nothing(finished):
    """As after a copy that keeps no dates: even files of data sets are compared by content."""
    large = finished / "results/tiny/quick/data/digits_fg/0.95/train.arrow"
    assert large.stat().st_size > 1_000_000, "Snakemake's own limit, above which dates alone count"
    for folder in ("results/tiny/quick/data", "results/tiny/quick/weights", "results/tiny/quick/distilled"):
        now(finished, folder)
    assert finished.planned("tiny.yaml", "--max-checksum-file-size", "1MB")["train_surrogate"] == 1
    assert finished.planned("tiny.yaml") == {}
    large.write_bytes(large.read_bytes() + b" ")
    assert set(finished.planned("tiny.yaml")) >= {"train_surrogate", "distill", "evaluate"}


@pytest.mark.thorough
def test_moved_checkout_reruns_nothing(finished, tmp_path):
    moved = type(finished)(tmp_path / "elsewhere" / "a moved checkout")
    moved.folder.parent.mkdir()
    shutil.move(finished.folder, moved.folder)
    assert moved.planned("tiny.yaml") == {}


@pytest.mark.thorough
def test_fresh_clone_beside_old_results_reruns_nothing(finished, pristine, tmp_path):
    clone = pristine.copy(tmp_path / "a clone")
    now(clone, ".")
    clone.study()
    for folder in ("results", ".snakemake"):
        shutil.rmtree(clone / folder, ignore_errors=True)  # those who looked at the pristine copy left a .snakemake
        shutil.copytree(finished / folder, clone / folder)
    assert clone.planned("tiny.yaml") == {}


@pytest.mark.thorough
def test_new_seed_adds_its_jobs_only(finished):
    changed(finished, lambda study: study["grid"][1].update(seeds=[0, 1]))
    assert finished.planned("tiny.yaml") == {
        "train_surrogate": 1,
        "distill": 1,
        "evaluate": 1,
        "measure_images": 1,
        **SHOWN,
    }


def test_changed_setting_reruns_its_stage_and_what_follows(finished):
    changed(finished, lambda study: study["debias"]["kde"].update(variance=0.5))
    again = {"estimate_weights": 1, "distill": 1, "evaluate": 1, **SHOWN, "plot": 2}
    assert finished.planned("tiny.yaml") == again


@pytest.mark.thorough
def test_changed_caption_reruns_its_table_only(finished):
    changed(finished, lambda study: study["tables"]["main"].update(caption="Another caption"))
    assert finished.planned("tiny.yaml") == {"make_table": 1, "write_report": 1}


@pytest.mark.thorough
def test_other_scale_has_its_own_folder(finished):
    for section, name, keys in (
        ("distillers", "dm", ["iterations"]),
        ("evaluations", "convnet", ["epochs", "whole_steps"]),
    ):
        changed(finished, lambda s, a=section, b=name, c=keys: s[a][b].update(dict.fromkeys(c, 3)))
    assert finished.planned("tiny.yaml", "--config", "scale=fast").total() == 17
    assert (finished / "results/tiny/quick/tables/main.csv").exists()


def test_results_that_came_without_their_records_are_told(finished):
    """As a copy of `results` alone; Snakemake takes them for current, whatever the study says."""
    status, output = finished.run("tiny.yaml")
    assert (status, "no record" in output) == (0, False)
    shutil.rmtree(finished / ".snakemake")
    changed(finished, lambda study: study["evaluations"]["convnet"]["epochs"].update(quick=2))
    status, output = finished.run("tiny.yaml")
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if "no record" in line]
    assert re.match(r"ddbias: \d+ results have no record of the settings", line)


@pytest.mark.thorough
def test_a_deleted_file_is_named_and_made_again_without_what_follows(finished):
    results = finished / "results/tiny/quick"
    gone = [
        results / "weights/digits_fg/0.95/kde/seed0/weights.parquet",
        results / "data/digits_fg/0.95/test.arrow",
        results / "distilled/digits_fg/0.95/random/uniform/ipc1/seed0/preview.png",
    ]
    before = [path.read_bytes() for path in gone]
    assert "ARGS=deleted" not in finished.run("tiny.yaml", "--dry-run")[1]
    for path in gone:
        path.unlink()
    status, output = finished.run("tiny.yaml", "--dry-run")
    assert status == 0, output
    (line,) = [line for line in output.splitlines() if "ARGS=deleted" in line]
    assert "and 2 more are missing, but not the results made from it" in line
    assert "Nothing to be done" in output, "Snakemake does not notice"
    status, output = finished.run("tiny.yaml", "deleted")
    assert status == 0, output
    assert [path.read_bytes() for path in gone] == before
    assert finished.planned("tiny.yaml") == {}


@pytest.mark.thorough
def test_a_deleted_evaluation_is_made_again_with_what_shows_it(finished):
    (evaluation,) = (finished / "results/tiny/quick/evaluations").rglob("random/uniform/ipc1/seed0/convnet.parquet")
    evaluation.unlink()
    planned = finished.planned("tiny.yaml")
    assert planned["evaluate"] == planned["make_table"] == planned["write_report"] == 1
    assert set(planned) <= {"evaluate", *SHOWN}
    assert not finished.planned("tiny.yaml", "--config", "unfinished=show")["evaluate"]
