"""What `make run` shows: a live view on a terminal, a line a minute in a log, and nothing that can hurt the run."""

import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from launcher.start import wants_view

ROOT = Path(__file__).resolve().parents[2]
LIVE = "\x1b[2K"  # what a view does that draws itself again: it clears a line
BEGIN = """\
import os, sys, time
from pathlib import Path
from types import SimpleNamespace
from snakemake_logger_plugin_ddbias import screen
from ddbias.planning import progress

screen.REFRESH, screen.LINE, screen.HOLD = 0.02, 0.2, 1.0
told = progress.Told("results/a/b/logs/distill/digits/dm.log", "running", 0, 3, 10, "loss 0.5", 12.0)
progress.watched.append((None, set()))
progress.overview = lambda *given, **more: progress.Overview("a b", 9, 4, [told] * 30, [], 60.0, "")
shown = screen.Screen()
shown.begin()
"""
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join(str(ROOT / "workflow" / part) for part in ("viewer", "scripts"))}


def on_terminal(command, **settings):
    """Run a command on a pseudo-terminal of 20 lines of 100; returns its exit status and what it wrote."""
    master, slave = pty.openpty()
    os.set_blocking(master, True)
    subprocess.run(["stty", "rows", "20", "cols", "100"], stdin=slave, check=True)
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, **settings)
    os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the last process with the terminal ended
            part = b""
        if not part:
            break
        written += part
    os.close(master)
    return process.wait(60), written.decode()


def screen(code, tmp_path, terminal=False):
    command = [sys.executable, "-c", BEGIN + textwrap.dedent(code)]
    settings = {"cwd": tmp_path, "env": os.environ | ENVIRONMENT}
    if terminal:
        return on_terminal(command, **settings)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **settings)
    return done.returncode, done.stdout


def test_a_log_has_few_lines_and_no_control_characters(tmp_path):
    status, output = screen("time.sleep(1.1); shown.end()", tmp_path)
    assert status == 0
    *said, last = output.splitlines()
    assert 3 <= len(said) <= 5
    assert set(said) == {last} == {"ddbias: a b: 4 of 9 jobs done, 30 running, about 60 s left"}


def test_a_person_sees_one_line_for_a_job_and_what_jobs_write_above(tmp_path):
    code = "time.sleep(0.3); os.system('echo from a job; echo to stderr >&2'); time.sleep(1.5); shown.end()"
    status, output = screen(code, tmp_path, terminal=True)
    assert status == 0
    pictures = output.split(LIVE)
    assert any(re.search(r"distill +digits dm +step 3 of 10 +loss 0.5, 12 s left", one) for one in pictures)
    assert "and 14 more" in output, "there are 20 lines"
    assert output.count("from a job") == output.count("to stderr") == 1
    assert output.rindex(LIVE) > output.index("to stderr")
    assert output.endswith("ddbias: a b: 4 of 9 jobs done, 30 running, about 60 s left\r\n")
    assert output.count("\x1b[?25l") <= output.count("\x1b[?25h"), "the cursor is there even after a kill"


def test_a_failed_job_is_one_line(tmp_path):
    code = r"""
    log = Path("results/a/b/logs/distill/digits/dm.log")
    log.parent.mkdir(parents=True)
    log.write_text("12:00:00 begun\n12:00:01 ddbias: class 3 is empty\n")
    os.system("echo 'ddbias: class 3 is empty' >&2; echo 'the disk is full' >&2")
    time.sleep(0.2)
    shown.failed("distill", [str(log)])
    shown.failed("plot", ["missing.log"])
    shown.failed("all", [])
    log.write_text("12:00:00 begun\n12:00:02 dm: 3/10, loss 1\n\n")  # a blank line, as on clusters
    shown.failed("distill", [str(log)])
    os.utime(log, (1e9, 1e9))
    shown.failed("distill", [str(log)])
    shown.end()
    """
    status, output = screen(code, tmp_path)
    assert status == 0
    *said, _ = [line for line in output.splitlines() if "of 9 jobs done" not in line or line.startswith("the")] + [""]
    assert said == [
        "the disk is full",
        "ddbias: class 3 is empty [distill digits dm; log: results/a/b/logs/distill/digits/dm.log]",
        "ddbias: failed [plot; log: missing.log]",
        "ddbias: failed [all]",
        "ddbias: failed after: dm: 3/10, loss 1 [distill digits dm; log: results/a/b/logs/distill/digits/dm.log]",
        "ddbias: failed [distill digits dm; log: results/a/b/logs/distill/digits/dm.log]",
    ]


@pytest.mark.parametrize("terminal", [False, True])
def test_a_view_that_fails_harms_nobody(tmp_path, terminal):
    code = r"""
    time.sleep(0.3)
    def fail(*given, **more):
        raise KeyError("images")
    progress.overview = fail
    time.sleep(0.3)
    shown._looked = 0.0
    time.sleep(0.3)
    os.system("yes 'a line of a job' | head -n 20000 >&2")  # more than a pipe holds
    shown.end()
    os.system("echo after >&2")
    """
    status, output = screen(code, tmp_path, terminal)
    assert status == 0
    assert output.count("no more view of the run, which goes on (KeyError('images'))") == 1
    assert output.count("a line of a job") == 20000
    assert output.rstrip().endswith("after")


def test_who_asks_for_snakemakes_messages_gets_them(monkeypatch):
    monkeypatch.delenv("VERBOSE", raising=False)
    assert wants_view(["report", "-n"])
    for extra in (["--quiet", "rules"], ["--logger=mine"], ["--verbose"], ["-p"]):
        assert not wants_view(extra)
    monkeypatch.setenv("VERBOSE", "1")
    assert not wants_view([])


@pytest.mark.thorough
def test_a_run_on_a_terminal_and_its_status(checkout):
    config = checkout.study()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("DDBIAS_")}
    command = [sys.executable, "workflow/launch.py", f"--config={config}", "--cores=2", "--", "weights"]
    status, output = on_terminal(command, cwd=checkout.folder, env=variables)
    assert status == 0, output
    assert re.search(r"tiny quick, a part: \d of 3 jobs done, 1 running", output)
    assert "synthesize_dataset  digits_fg 0.95" in output
    for chatter in ("Using workflow", "Building DAG", "Select jobs", "rule ", "jobid", "steps (", "Complete log"):
        assert chatter not in output
    assert output.split("\r\n")[-2].endswith("ddbias: tiny quick, a part: 3 of 3 jobs done")
    data = checkout / "results/tiny/quick/weights/digits_fg/0.95/kde/seed0/weights.parquet"
    data.write_bytes(b"x" * 100)
    target = "results/tiny/quick/distilled/digits_fg/0.95/dm/kde/ipc1/seed0/distilled.safetensors"
    status, output = checkout.run(config, target)
    log = target.replace("distilled/", "logs/distill/", 1).replace("/distilled.safetensors", ".log")
    assert status == 1
    assert "\x1b" not in output
    (said,) = [line for line in output.splitlines() if "is damaged" in line]
    assert said.startswith(f"ddbias: {data.relative_to(checkout.folder)} is damaged")
    assert said.endswith(f"[distill digits_fg 0.95 dm kde ipc1 seed0; log: {log}]")
    done = subprocess.run(
        [sys.executable, "workflow/status.py", f"--config={config}"],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "3 of 17 jobs done, 1 failed" in done.stdout
    assert f"log: {log}" in done.stdout
