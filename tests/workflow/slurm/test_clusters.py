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
    """Snakemake asks `sacct`, as it does unless told otherwise."""
    target = "results/tiny/quick/distilled/digits_fg/0.95/random/uniform/ipc1/seed0/distilled.safetensors"
    memory = "synthesize_dataset:mem_mb=50 + 1950 * (attempt - 1)"
    status, output = submitted.run(submitted.study(), target, "--verbose", "--set-resources", memory)
    assert status == 0, output
    assert "command=sacct" in output
    assert f"SLURM-job '{submitted.jobs()[0]['id']}' failed, SLURM status is: 'FAILED'" in output
    assert submitted.cluster.command("sacct", "-nPX", "--format=State").split() == ["FAILED", "COMPLETED", "COMPLETED"]
