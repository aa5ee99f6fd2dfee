"""Clusters of another shape: two nodes, and one with accounting."""

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.long]


@pytest.mark.parametrize("cluster", [{"nodes": 2}], indirect=True, ids=["two nodes"])
def test_two_nodes_make_what_a_local_run_makes(submitted, finished_locally):
    status, output = submitted.run(submitted.study(cut=True))
    assert status == 0, output
    assert {job["node"] for job in submitted.jobs(state="COMPLETED")} == {"node1", "node2"}
    assert submitted.results() == finished_locally(cut=True)


@pytest.mark.parametrize("cluster", [{"accounting": True}], indirect=True, ids=["accounting"])
def test_accounting_tells_of_a_killed_job_and_of_its_second_attempt(submitted):
    """By `sacct`."""
    target = "results/tiny/quick/distilled/digits_fg/0.95/random/uniform/ipc1/seed0/distilled.safetensors"
    memory = "synthesize_dataset:mem_mb=50 + 1950 * (attempt - 1)"
    asked = ("--slurm-status-command", "sacct", "--verbose", "--set-resources", memory)
    status, output = submitted.run(submitted.study(), target, *asked)
    assert status == 0, output
    assert "command=sacct" in output
    assert f"SLURM-job '{submitted.jobs()[0]['id']}' failed, SLURM status is: 'FAILED'" in output
    assert submitted.cluster.command("sacct", "-nPX", "--format=State").split() == ["FAILED", "COMPLETED", "COMPLETED"]


@pytest.mark.parametrize("cluster", [{"accounting": True}], indirect=True, ids=["accounting"])
def test_a_cancelled_job_is_noticed_where_there_is_accounting(submitted):
    """By `squeue`, as the profiles have it: of a cancelled job `sacct` says more than the plug-in understands."""
    process = submitted.start(submitted.study(long=10**6), "--retries", "0")
    job = submitted.wait_for(lambda: submitted.jobs(rule="distill", state="RUNNING"))[0]["id"]
    submitted.cluster.command("scancel", job)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert "CANCELLED" in submitted.cluster.command("sacct", "-nPX", "--format=State")
