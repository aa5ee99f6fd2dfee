"""What jobs tell, and what becomes of it when they end, fail, or are killed."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from ddbias.base.log import Progress
from ddbias.runtime import job, progress
from ddbias.runtime.progress import Telling, read

LOG = "results/s/quick/logs/distill/digits/0.95/dm/kde/ipc1/seed0.log"
FOLDER = "results/s/quick"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "EACH", 0.02)
    monkeypatch.delenv("DDBIAS_RUN_PID", raising=False)
    return tmp_path


def files(folder):
    return sorted(path.name for path in folder.rglob("progress/*"))


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_steps_are_told_while_a_job_works_and_nothing_is_left_of_a_finished_one(here, log_lines):
    def main(snakemake):
        (told,) = read(FOLDER)
        assert (told.state, told.stage, told.cell) == ("running", "distill", "digits 0.95 dm kde ipc1 seed0")
        assert (told.step, told.steps, told.left) == (0, 0, None)
        counted = Progress(4, "dm kde", start=1)
        for step in counted:
            counted.show(step, loss=0.1234567)
            if step == 2:
                until(lambda: read(FOLDER)[0].step == 3)
                (told,) = read(FOLDER)
                assert (told.steps, told.values, told.seconds < 5) == (4, "loss 0.1235", True)
                assert told.left >= 0

    job.run(main, SimpleNamespace(rule="distill", log=[LOG], config={"plugins": []}))
    assert files(here) == []


@pytest.mark.parametrize(
    ("error", "state"), [(ValueError("no"), "failed"), (KeyboardInterrupt(), "stopped"), (SystemExit(143), "stopped")]
)
def test_what_a_job_ended_with_is_kept_until_it_works(here, error, state):
    def main(snakemake):
        if error:
            raise error

    given = SimpleNamespace(rule="distill", log=[LOG], config={"plugins": []})
    with pytest.raises(SystemExit):
        job.run(main, given)
    (told,) = read(FOLDER)
    assert told.state == state
    if state == "failed":
        assert progress.last_words(told.log) == "ValueError: no"
    error = None
    job.run(main, given)
    assert read(FOLDER) == []


def test_a_killed_job_is_not_taken_for_a_running_one(here):
    code = (
        f"from ddbias.runtime.progress import Telling; Telling({LOG!r}); print(flush=True); import time; time.sleep(60)"
    )
    path = os.pathsep.join(map(str, sys.path))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={"PYTHONPATH": path})
    process.stdout.readline()
    assert [told.state for told in read(FOLDER)] == ["running"]
    process.kill()
    process.wait()
    assert [told.state for told in read(FOLDER)] == ["stopped"]


def write(here, **about):
    path = here / FOLDER / "progress/0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"log": LOG, "host": "another", "pid": os.getpid(), "state": "running"} | about))
    return path


def test_a_job_of_another_node_runs_as_long_as_it_renews_its_file(here):
    path = write(here, pid=2**22 + 1)
    assert [told.state for told in read(FOLDER)] == ["running"]
    os.utime(path, (time.time() - 61,) * 2)
    assert [told.state for told in read(FOLDER)] == ["stopped"]
    assert 60 < read(FOLDER)[0].seconds < 70


@pytest.mark.parametrize("about", [{"state": "x"}, {"step": "many"}, {"log": None, "state": 3}, {"left": [1]}])
def test_what_tells_nothing_is_left_out(here, about):
    path = write(here, **about)
    assert read(FOLDER) == []
    path.write_text('["running"]')
    assert read(FOLDER) == []
    path.write_text('{"log": "half')
    assert read(FOLDER) == []


def test_what_a_file_or_a_log_holds_is_not_obeyed_by_a_terminal(here):
    log = LOG.replace("digits", "\x1b[31mred")
    write(here, log=log, values="loss \x1b[2J")
    (here / log).parent.mkdir(parents=True)
    (here / log).write_text("12:00:00 first\n12:00:01 ddbias: \x1b]0;title\x07\n")
    (told,) = read(FOLDER)
    assert told.cell.startswith(r"\x1b[31mred 0.95")
    assert told.values == r"loss \x1b[2J"
    assert progress.last_words(told.log) == r"ddbias: \x1b]0;title\x07"


def test_a_folder_that_cannot_be_written_harms_no_job(here):
    (here / "results").write_text("a file")
    telling = Telling(LOG)
    time.sleep(0.1)
    telling.end()
    telling.end("failed")
    Telling(None).end()
    Telling("elsewhere.log").end("failed")
    assert files(here) == []
