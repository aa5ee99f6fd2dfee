"""What goes wrong on a cluster: jobs over their limits, cancelled or requeued, daemons that stop, a killed run."""

import os
import re
import signal
import time

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.long]
FOLDER = "distilled/digits_fg/0.95/long/uniform/ipc1/seed0"
STATE = f"results/tiny/quick/state/{FOLDER}.safetensors"
LOG = f"results/tiny/quick/logs/{FOLDER.replace('distilled', 'distill', 1)}.log"
SOME = 3000  # steps of the distiller that is disturbed: tens of seconds
MANY = 20000  # minutes
DATA, MADE = {"synthesize_dataset": 1}, {"synthesize_dataset": 1, "distill": 1, "evaluate": 1}


def distilling(submitted, process):
    """Wait until the distiller has saved a state and return its job."""

    def running():
        assert process.poll() is None, process.communicate()[0]
        return (submitted.checkout / STATE).exists() and submitted.jobs(rule="distill", state="RUNNING")

    return submitted.wait_for(running)[0]


def going_on(submitted):
    """Return the steps that the distiller went on from."""
    return [int(step) for step in re.findall(r"resuming from step (\d+)", (submitted.checkout / LOG).read_text())]


def test_job_over_its_memory_gets_more(submitted, finished_locally):
    config = submitted.study(long=SOME)
    status, output = submitted.run(config, "--set-resources", "distill:mem_mb=200 + 1800 * (attempt - 1)")
    assert status == 0, output
    jobs = submitted.jobs(rule="distill")
    assert [job["memory"] for job in jobs] == ["200M", "2000M"]
    assert jobs[0]["state"] in ("FAILED", "OUT_OF_MEMORY")
    assert jobs[1]["state"] == "COMPLETED"
    assert "exceeded memory limit" in submitted.logs()
    assert submitted.results() == finished_locally(long=SOME)


def test_job_over_its_time_goes_on_with_more(submitted, finished_locally):
    config = submitted.study(long=MANY)
    status, output = submitted.run(config, "--set-resources", "distill:runtime=1 + 14 * (attempt - 1)")
    assert status == 0, output
    jobs = submitted.jobs(rule="distill")
    assert [job["minutes"] for job in jobs] == ["1:00", "15:00"]
    assert [job["state"] for job in jobs] == ["TIMEOUT", "COMPLETED"]
    assert "stopped by SIGTERM" in output
    assert len(going_on(submitted)) == 1  # every attempt writes its own log
    assert submitted.results() == finished_locally(long=MANY)


def test_requeued_job_goes_on(submitted, finished_locally):
    """As when a node is taken away, or the job is pre-empted."""
    config = submitted.study(long=SOME)
    process = submitted.start(config)
    job = distilling(submitted, process)
    began = time.monotonic()
    submitted.cluster.command("scontrol", "requeue", job["id"])
    submitted.wait_for(lambda: submitted.jobs(id=job["id"], state="PENDING"))
    assert time.monotonic() - began < 30  # KillWait: nobody had to be killed
    submitted.cluster.command("scontrol", "update", f"JobId={job['id']}", "StartTime=now")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert submitted.counts() == MADE
    assert going_on(submitted)
    assert submitted.results() == finished_locally(long=SOME)


def test_cancelled_job_fails_the_run_and_shows_its_log(submitted):
    config = submitted.study(long=MANY)
    process = submitted.start(config, "--retries", "0")
    job = distilling(submitted, process)
    submitted.cluster.command("scancel", job["id"])
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "CANCELLED" in output
    assert "stopped" in (submitted.checkout / LOG).read_text()
    assert (submitted.checkout / LOG).read_text().splitlines()[-1] in output  # --show-failed-logs
    assert (submitted.checkout / STATE).exists()


def test_killed_run_is_taken_up_again(submitted, finished_locally):
    config = submitted.study(long=SOME)
    process = submitted.start(config)
    job = distilling(submitted, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert submitted.jobs(id=job["id"], state="RUNNING")  # SLURM does not know
    status, output = submitted.run(config)
    assert status == 0, output
    assert "cancelling 1 jobs that a killed run left in SLURM" in output
    assert submitted.counts() == {**MADE, "distill": 2}  # the data set was not made again
    assert [job["state"] for job in submitted.jobs(rule="distill")] == ["CANCELLED", "COMPLETED"]
    assert going_on(submitted)
    assert submitted.results() == finished_locally(long=SOME)


def test_interrupted_run_cancels_its_jobs(submitted):
    config = submitted.study(long=MANY)
    process = submitted.start(config)
    job = distilling(submitted, process)
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode != 0, output
    submitted.wait_for(lambda: submitted.jobs(id=job["id"], state="CANCELLED"))
    assert (submitted.checkout / STATE).exists()


@pytest.mark.parametrize("daemon", ["node1", "slurmctld"])
def test_daemon_that_restarts_disturbs_nothing(submitted, finished_locally, daemon):
    config = submitted.study(long=SOME)
    process = submitted.start(config)
    job = distilling(submitted, process)
    submitted.cluster.stop_daemon(daemon, signal.SIGKILL)
    time.sleep(10)
    submitted.cluster.start_daemon(daemon)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert submitted.counts() == MADE
    assert submitted.jobs(rule="distill")[0]["id"] == job["id"]
    assert not going_on(submitted)  # the job itself never stopped
    assert submitted.results() == finished_locally(long=SOME)
