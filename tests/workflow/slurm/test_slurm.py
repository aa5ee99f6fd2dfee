"""A study through the shipped profiles: what SLURM notes of it, and that the results are those of a local run."""

import re
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).resolve().parents[3]
LOCAL = {"make_table", "plot", "write_report", "all"}
WITH_NETWORKS = {"train_surrogate", "pretrain_models", "distill", "evaluate", "train_attribute_model", "measure_images"}


def test_every_job_goes_through_slurm_and_makes_what_a_local_run_makes(submitted, finished_locally):
    config = submitted.study(cut=True)
    planned = submitted.checkout.planned(config)
    status, output = submitted.run(config)
    assert status == 0, output
    assert submitted.counts() == {rule: count for rule, count in planned.items() if rule not in LOCAL}
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    defaults = profile["default-resources"]
    for job in submitted.jobs():
        assert job["state"] == "COMPLETED"
        assert job["account"] == defaults["slurm_account"]
        assert job["partition"] == ("gpu" if job["rule"] in WITH_NETWORKS else defaults["slurm_partition"])
        assert job["cpus"] == "1"
        assert job["gres"] == "N/A"  # device: cpu
        assert re.fullmatch(r"\d+M", job["memory"])
        assert job["minutes"] != "30:00"  # the profile's default: every stage asks for its own
    assert submitted.results() == finished_locally(cut=True)
    assert submitted.checkout.planned(config) == {}


@pytest.mark.parametrize(
    ("profile", "asked"), [("slurm", "TresPerJob=gres:gpu:1"), ("slurm-gres", "TresPerNode=gres:gpu:1")]
)
def test_gpus_are_asked_for(submitted, profile, asked):
    """Through `--gpus` or `--gres`; the job then sees its own. Here it is a name without a device behind it."""
    config = submitted.study(device="auto")
    target = "results/tiny/quick/distilled/digits_fg/0.95/random/uniform/ipc1/seed0/distilled.safetensors"
    status, output = submitted.run(config, target, profile=profile)
    assert status == 0, output
    data, distill = submitted.jobs()
    assert (data["rule"], distill["rule"]) == ("synthesize_dataset", "distill")
    detail = [submitted.cluster.command("scontrol", "show", "job", job["id"]) for job in (data, distill)]
    assert "TresPer" not in detail[0]
    assert asked in detail[1]


def test_job_that_fails_shows_its_log(submitted):
    config = submitted.study(cut=True)
    script = submitted.checkout / "workflow/scripts/synthesize_dataset.py"
    script.write_text(script.read_text().replace("):\n", "):\n    raise RuntimeError('on purpose')\n", 1))
    status, output = submitted.run(config, "--retries", "0")
    assert status == 1
    assert "RuntimeError: on purpose" in output
    assert submitted.counts() == {"synthesize_dataset": 1}


@pytest.mark.long
def test_jobs_of_a_rule_as_one_array(submitted, finished_locally):
    config = submitted.study()
    status, output = submitted.run(config, "--slurm-array-jobs", "distill,evaluate")
    assert status == 0, output
    tasks = {job["rule"]: [] for job in submitted.jobs()}
    for job in submitted.jobs():
        tasks[job["rule"]].append(job["id"])
    assert len(tasks["distill"]) == 4  # three of them at once, and the one that waits for weights
    assert sum("_" in job for job in tasks["distill"]) == 3
    assert len({job.split("_")[0] for job in tasks["distill"]}) == 2
    assert submitted.results() == finished_locally()


@pytest.mark.long
def test_group_is_one_job(submitted, finished_locally):
    """A set and its evaluation, two cells at a time: what pays where jobs are short."""
    config = submitted.study()
    groups = ("--groups", "distill=cell", "evaluate=cell", "--group-components", "cell=2")
    status, output = submitted.run(config, *groups)
    assert status == 0, output
    counts = submitted.counts()
    assert counts["distill"] == counts["evaluate"] == 0
    assert 2 <= counts["cell_distill_evaluate"] <= 3  # instead of eight jobs
    assert submitted.results() == finished_locally()
