"""How far a study is, from files as jobs and Snakemake leave them."""

import json
import socket
from pathlib import Path

import pytest
import yaml
from ddbias.planning.costs.report import report
from ddbias.planning.costs.work import cost
from ddbias.planning.jobs import jobs
from ddbias.planning.load import load
from ddbias.planning.progress import lines, log, overview

ROOT = Path(__file__).resolve().parents[3]
SPEED = 3.0  # seconds that each finished job takes for one expected


@pytest.fixture(scope="module")
def study():
    return load(yaml.safe_load((ROOT / "config.yaml").read_text()))


def finish(study, folder, job):
    (folder / job.output).parent.mkdir(parents=True, exist_ok=True)
    (folder / job.output).touch()
    seconds = SPEED * cost(study, job.stage, job.wildcards).seconds
    benchmark = folder / job.benchmark
    benchmark.parent.mkdir(parents=True, exist_ok=True)
    benchmark.write_text(f"s\tcpu_time\tmax_rss\n{seconds}\t0\t100\n")


def tell(study, folder, job, state, name, said="", **about):
    path = folder / log(study, job)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said)
    path = folder / study.folder / "progress" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    about |= {"log": log(study, job), "state": state, "host": "a-node", "pid": 1}
    path.write_text(json.dumps(about))


def of_stage(study, stage):
    return [job for job in jobs(study) if job.stage == stage]


def test_the_logs_of_the_plan_are_those_of_the_rules(study):
    rules = {path.stem: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}
    for stage in {job.stage for job in jobs(study)}:
        job = of_stage(study, stage)[0]
        wildcards = vars(job.wildcards) | {"study": study.name, "scale": study.scale}
        pattern = next(line for line in rules[stage].split("log:")[1].splitlines() if "logs" in line)
        assert pattern.strip().rstrip(",").strip('"').format(**wildcards) == log(study, job)


def test_before_the_first_job(study, tmp_path):
    found = overview(study, tmp_path)
    assert (found.done, found.jobs, found.running, found.ended) == (0, len(jobs(study)), [], [])
    assert found.seconds is None
    assert lines(found) == [
        f"{study.name} {study.scale}: 0 of {found.jobs} jobs done",
        "No job is running; `make run` goes on from here.",
    ]


def test_time_left_is_what_is_to_do_at_the_speed_of_what_was_done(study, tmp_path):
    done, (first, second, *_) = of_stage(study, "synthesize_dataset"), of_stage(study, "distill")
    for job in done:
        finish(study, tmp_path, job)
    left = sum(cost(study, job.stage, job.wildcards).seconds for job in jobs(study) if job not in done)
    assert overview(study, tmp_path).seconds == pytest.approx(SPEED * left)
    tell(study, tmp_path, first, "running", 0, step=1, steps=4)
    tell(study, tmp_path, second, "running", 1)
    found = overview(study, tmp_path)
    assert len(found.running) == 2
    worked = cost(study, "distill", first.wildcards).seconds / 4
    assert found.seconds == pytest.approx(SPEED * (left - worked) / 2)
    assert overview(study, tmp_path, at_once=4).seconds == pytest.approx(SPEED * (left - worked) / 4)
    stages = report(study, tmp_path)
    chain = sum(stage.longest for name, stage in stages.items() if name != "together")
    longest = max(0, cost(study, "distill", first.wildcards).seconds / 4)
    assert overview(study, tmp_path, at_once=10**6).seconds == pytest.approx(SPEED * (chain - longest))


def test_a_part_of_a_study_counts_what_it_needs(study, tmp_path):
    done, wanted, *_ = of_stage(study, "synthesize_dataset")
    finish(study, tmp_path, done)
    found = overview(study, tmp_path, outputs={done.output, wanted.output, "another/file"})
    assert found.headline().startswith(f"{study.name} {study.scale}, a part: 1 of 2 jobs done, about ")
    assert found.seconds == pytest.approx(SPEED * cost(study, wanted.stage, wanted.wildcards).seconds)
    assert overview(study, tmp_path, outputs={done.output}).page == ""


def test_a_finished_study_names_its_page(study, tmp_path):
    for job in jobs(study):
        finish(study, tmp_path, job)
    found = overview(study, tmp_path)
    assert found.page == f"{study.folder}/report/index.html"
    assert lines(found) == [f"{study.name} {study.scale}: {found.jobs} of {found.jobs} jobs done"]


def test_status_of_a_running_a_failed_and_a_killed_job(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for job in of_stage(study, "synthesize_dataset"):
        finish(study, tmp_path, job)
    first, second, third, fourth, *_ = of_stage(study, "distill")
    tell(study, tmp_path, first, "running", 0, step=310, steps=1000, values="loss 0.12", left=40.4)
    tell(study, tmp_path, second, "failed", 1, "12:00:00 begun\n12:00:01 ddbias: class 3 is empty\n")
    tell(study, tmp_path, third, "running", 2, "12:00:00 dm: 5/10, loss 1\n", step=5, steps=10)
    killed = tmp_path / study.folder / "progress/2.json"
    killed.write_text(json.dumps(json.loads(killed.read_text()) | {"host": socket.gethostname(), "pid": 2**22 + 1}))
    tell(study, tmp_path, fourth, "failed", 3, "12:00:00 ddbias: long ago\n")
    finish(study, tmp_path, fourth)
    said = lines(overview(study, tmp_path))
    cells = [
        " ".join(log(study, job).split("/logs/distill/")[1].removesuffix(".log").split("/"))
        for job in (first, second, third)
    ]
    assert "1 running, 1 failed, 1 stopped, about " in said[0]
    assert said[1] == f"running  distill  {cells[0]}  step 310 of 1,000  loss 0.12, 40 s left"
    rest = "\n".join(said[2:])
    assert (
        f"failed  distill {cells[1]}, 0 s ago\n         ddbias: class 3 is empty\n         log: {log(study, second)}"
        in rest
    )
    assert f"stopped  distill {cells[2]}, step 5 of 10, 0 s ago\n         dm: 5/10, loss 1\n" in rest
    assert "long ago" not in rest, "it is there now"
    assert "No job is running" not in rest


def test_what_is_no_longer_of_the_study_is_not_told(study, tmp_path):
    (job, *_) = of_stage(study, "distill")
    tell(study, tmp_path, job, "failed", 0)
    path = tmp_path / study.folder / "progress/0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"log": log(study, job).replace("seed", "seed77")}))
    assert overview(study, tmp_path).ended == []
