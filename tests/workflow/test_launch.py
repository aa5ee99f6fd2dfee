"""The launcher: one run per folder, stale locks cleared, live ones respected, nothing lost in folders with a space."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from launcher import LaunchError, arguments, lock, slurm_leftovers
from launcher.start import clean, use_writable_cache
from snakemake.cli import get_argument_parser, parse_config

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = """\
import os
import sys

sys.path[:0] = [os.path.join(workflow.basedir, "workflow", part) for part in ("scripts", "")]
from launcher import job_environment, lock

lock.lock_work(workflow)
job_environment.quote_executable()


rule wait:
    output:
        "results/wait.txt",
    script:
        "wait.py"


rule quick:
    output:
        "results/quick.txt",
    script:
        "wait.py"


rule broken:
    output:
        "results/broken.txt",
    shell:
        "exit 3"
"""
# `wait` says that it has started and works until it may end; `quick` ends at once.
SCRIPT = """\
import os, pathlib, sys, time
pathlib.Path("started").write_text(str(os.getpid()))
while snakemake.rule == "wait" and not os.path.exists("finish"):
    time.sleep(0.02)
pathlib.Path(snakemake.output[0]).write_text(sys.executable)
"""


def make_folder(folder):
    """A checkout with a tiny workflow, in a folder with a space."""
    (folder / "workflow").mkdir(parents=True)
    shutil.copy(ROOT / "workflow/launch.py", folder / "workflow")
    for name in ("launcher", "profiles", "viewer"):
        shutil.copytree(ROOT / "workflow" / name, folder / "workflow" / name)
    library = Path("workflow/scripts/ddbias")
    needed = (
        "__init__",
        "base/__init__",
        "base/environment",
        "base/errors",
        "base/locks",
        "base/log",
        "base/terminal",
        "planning/__init__",
        "planning/study_file",
        "runtime/__init__",
        "runtime/progress",
    )
    for name in needed:  # all that the launcher and the viewer need of it
        (folder / library / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / library / f"{name}.py", folder / library / f"{name}.py")
    (folder / "config.yaml").write_text("study: a\n")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "wait.py").write_text(SCRIPT)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = make_folder(tmp_path / "a folder")
    monkeypatch.chdir(folder)
    yield folder
    (folder / "finish").touch()  # whatever still waits there ends


@pytest.fixture(scope="module")
def live_run(tmp_path_factory):
    """A run that works as long as the tests which disturb it; undisturbed, it succeeds."""
    folder = make_folder(tmp_path_factory.mktemp("live") / "a folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        process = launcher("wait")
    try:
        wait_for(folder / "started", process)
        yield folder, process
    finally:
        (folder / "finish").touch()
    status, output = finish(process)
    assert status == 0, output
    assert (folder / "results/wait.txt").read_text() == sys.executable


@pytest.fixture
def running(live_run, monkeypatch):
    folder, process = live_run
    monkeypatch.chdir(folder)
    return process


def start(*command):
    return subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def launcher(*arguments):
    return start("workflow/launch.py", "--cores=1", "--", *arguments)


def finish(process):
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def wait_for(path, process):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"{path} never appeared"
        time.sleep(0.02)


@pytest.mark.parametrize("command", [["workflow/launch.py", "--cores=1", "--"], ["-m", "snakemake", "--cores=1"]])
def test_a_second_run_is_refused_and_leaves_the_lock_of_the_first_one_alone(running, command):
    left = sorted(Path(".snakemake/locks").iterdir())
    status, output = finish(start(*command, "quick"))
    assert status == 1
    said = f"ddbias: another run (pid {running.pid}) is working in this folder; wait for it or stop it"
    assert output.splitlines()[-1] == said
    assert not Path("results/quick.txt").exists()
    assert left
    assert sorted(Path(".snakemake/locks").iterdir()) == left


@pytest.mark.parametrize("look", ["--dry-run quick", "-np quick", "--dag dot quick", "--summary quick", "--list-rules"])
def test_looking_is_allowed_during_a_run(running, look):
    status, output = finish(launcher(*look.split()))
    assert status == 0, output
    assert "quick" in output
    assert not Path("results/quick.txt").exists()


def test_clean_is_refused_during_a_run(running):
    status, output = finish(start("workflow/launch.py", "--clean"))
    assert status == 1
    assert output.startswith("ddbias: another run")
    assert Path(".snakemake").exists()


BY_HAND = ["-m", "snakemake", "--cores=1", "--workflow-profile", "workflow/profiles/workstation"]


@pytest.mark.parametrize("command", [["workflow/launch.py", "--cores=1", "--"], BY_HAND])
def test_killed_run_frees_the_folder_and_the_next_one_clears_up(folder, command):
    first = start(*command, "wait")
    wait_for(folder / "started", first)
    first.kill()
    first.wait()
    # the job, which in this workflow does not watch its run, is still alive and must not hold the lock
    os.kill(int((folder / "started").read_text()), 0)
    assert list((folder / ".snakemake/locks").iterdir())
    (folder / "results/wait.txt").touch()  # half done
    (folder / "finish").touch()
    status, output = finish(start(*command, "wait"))
    assert status == 0, output
    assert "cleared the lock of a run that was killed" in output
    assert (folder / "results/wait.txt").read_text() == sys.executable


def test_the_locks_of_a_snakemake_that_is_not_ours_are_left_alone(folder):
    """Of a workflow that has this one as a module, which takes Snakemake's lock only."""
    status, output = finish(launcher("quick"))
    assert status == 0, output
    assert lock.LOCK.read_text() == ""
    (folder / ".snakemake/locks").mkdir(exist_ok=True)
    other = folder / ".snakemake/locks/0.output.lock"
    other.write_text("results/quick.txt\n")
    (folder / "results/quick.txt").unlink()
    for _ in range(2):
        status, output = finish(launcher("quick"))
        assert status == 1
        (line,) = [line for line in output.splitlines() if "module" in line]
        assert line.startswith("ddbias: a Snakemake without the lock of ddbias")
        assert other.read_text() == "results/quick.txt\n"
    status, output = finish(launcher("--unlock"))
    assert status == 0, output
    assert not other.exists()


def test_every_profile_resumes_killed_runs():
    for path in (ROOT / "workflow/profiles").glob("*/config.yaml"):
        assert yaml.safe_load(path.read_text())["rerun-incomplete"] is True, path


def test_failure_is_passed_on(folder):
    status, output = finish(launcher("broken"))
    assert status == 1
    assert "broken" in output


def test_interrupt_reaches_snakemake(folder):
    first = launcher("wait")
    wait_for(folder / "started", first)
    first.send_signal(signal.SIGINT)
    (folder / "finish").touch()
    assert finish(first)[0] != 0
    assert not list((folder / ".snakemake").glob("locks/*"))


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        (["report"], ["--resources", "gpu=4", "--cores"]),
        (["--resources", "mem_mb=9000", "--", "report"], ["--resources", "gpu=4", "mem_mb=9000", "--"]),
        (["--res", "mem_mb=9000"], ["--res", "gpu=4", "mem_mb=9000"]),
        (["--resources", "mem_mb=9000", "gpu=1"], ["--resources", "mem_mb=9000", "gpu=1"]),
        (["--resources=gpu=1"], ["--resources=gpu=1"]),
        (
            ["--resources=mem_mb=9000", "report"],
            ["--resources", "gpu=4", "mem_mb=9000", "--rerun-incomplete", "report"],
        ),
    ],
)
def test_gpus_are_counted_for_snakemake_unless_the_user_did(extra, expected):
    built = arguments.snakemake_arguments("", "2", "", extra, gpus=4)
    at = built.index(expected[0])
    assert built[at : at + len(expected)] == expected
    given = [word for word in built if word.startswith("--res") and not word.startswith("--rerun")]
    assert len(given) == 1 or built.index(given[0]) < built.index("--rerun-incomplete"), "the user's comes last"
    assert not [word for word in arguments.snakemake_arguments("", "2", "", ["report"]) if "gpu" in word]


@pytest.mark.parametrize(
    "extra", [["--executor", "slurm"], ["-e", "slurm"], ["--profile=mine"], ["--workflow-profile", "x"]]
)
def test_gpus_of_this_machine_are_not_counted_for_jobs_of_another(monkeypatch, extra):
    monkeypatch.setenv("DDBIAS_GPUS", "GPU-a,GPU-b")
    monkeypatch.setenv("DDBIAS_JOBS_PER_GPU", "3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert arguments.gpu_jobs(["report"]) == 6
    assert arguments.gpu_jobs(extra) == 0
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "mine")
    assert arguments.gpu_jobs(["report"]) == 0


def test_a_wrong_number_of_jobs_per_gpu_is_one_line(folder, monkeypatch):
    monkeypatch.setenv("DDBIAS_JOBS_PER_GPU", "many")
    status, output = finish(start("workflow/launch.py", "--cores=1", "--", "quick"))
    assert (status, output.count("\n")) == (1, 1)
    assert output.startswith("ddbias: DDBIAS_JOBS_PER_GPU=many is not a positive number; set how many jobs share a GPU")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--config=studies/tabel1.yaml"], "there is no configuration file 'studies/tabel1.yaml'; known studies: none"),
        (["--cores=0"], "CORES=0 is neither a positive number nor 'all'"),
        (["--fast"], "unknown option --fast"),
    ],
)
def test_mistakes_are_one_line(folder, options, said):
    status, output = finish(start("workflow/launch.py", *options))
    assert status == 1
    assert output.startswith(f"ddbias: {said}")
    assert output.count("\n") == 1
    assert not (folder / ".snakemake").exists()


def test_clean_removes_results(folder):
    (folder / "results").mkdir()
    (folder / ".snakemake/log").mkdir(parents=True)
    assert finish(start("workflow/launch.py", "--clean"))[0] == 0
    assert not (folder / "results").exists()
    assert not (folder / ".snakemake").exists()
    assert finish(start("workflow/launch.py", "--clean")) == (0, "ddbias: nothing to clean\n")


def test_clean_keeps_what_a_link_points_to(folder):
    kept = folder / "elsewhere"
    kept.mkdir()
    (kept / "table.csv").touch()
    (folder / "results").symlink_to(kept)
    status, output = finish(start("workflow/launch.py", "--clean"))
    assert status == 0
    assert "is kept" in output
    assert (kept / "table.csv").exists()
    assert not (folder / "results").exists()


def test_lock_is_exclusive_and_ends_with_its_descriptor(folder):
    descriptor = lock.take_lock()
    assert lock.LOCK.read_text() == f"{os.getpid()}\n"
    with pytest.raises(LaunchError, match=rf"another run \(pid {os.getpid()}\)"):
        lock.take_lock()
    os.close(descriptor)
    os.close(lock.take_lock())


def test_a_lock_that_was_removed_before_it_was_taken_is_taken_again(folder, monkeypatch):
    """As by a `make clean` at the same moment: who holds a file that no other can open holds nothing."""
    take, removed = lock.locks.take, []

    def take_late(descriptor, how):
        take(descriptor, how)
        if not removed:
            removed.append(lock.LOCK.unlink())

    monkeypatch.setattr(lock.locks, "take", take_late)
    descriptor = lock.take_lock()
    assert lock.LOCK.read_text() == f"{os.getpid()}\n"
    os.close(descriptor)


def test_a_full_disk_is_one_line(folder, monkeypatch):
    def full(*given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    lock.LOCK.parent.mkdir(exist_ok=True)
    lock.LOCK.write_text("4711\n")
    monkeypatch.setattr(os, "pwrite", full)
    said = r"cannot write .*ddbias\.lock \(No space left on device\); free some space and run again"
    with pytest.raises(LaunchError, match=said):
        lock.take_lock()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert lock.was_killed()  # as before
    os.close(lock.take_lock())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_too_full_for_snakemakes_own_locks_is_one_line(folder, capsys, number):
    def full(**given):
        raise OSError(number, os.strerror(number))  # as from `print` to a file: without a name

    workflow = SimpleNamespace(is_main_process=True, execute=full)
    lock.lock_work(workflow)
    plugin = SimpleNamespace(common_settings=SimpleNamespace(dryrun_exec=False))
    with pytest.raises(SystemExit, match="1"):
        workflow.execute(executor_plugin=plugin)
    said = f"ddbias: cannot write .snakemake ({os.strerror(number)}); free some space and run again\n"
    assert capsys.readouterr().err == said


def test_strangers_cannot_open_the_lock(folder):
    """Who can open a file, be it to read, can lock it; files of earlier versions were open to all."""
    for made_before in (False, True):
        if made_before:
            lock.LOCK.chmod(0o644)
        os.close(lock.take_lock())
        assert lock.LOCK.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_told_and_works(folder, monkeypatch, capsys, number):
    def flock(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    left = lock.SNAKEMAKE_LOCKS / "0.input.lock"
    left.parent.mkdir(parents=True)
    left.touch()
    executed = []
    workflow = SimpleNamespace(is_main_process=True, execute=lambda **given: executed.append(given))
    lock.lock_work(workflow)
    plugin = SimpleNamespace(common_settings=SimpleNamespace(dryrun_exec=False))
    workflow.execute(executor_plugin=plugin)
    assert len(executed) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"its file system has none ({os.strerror(number)}): start one run at a time" in said
    assert left.exists(), "perhaps of a run that is alive"
    clean()
    assert not Path(".snakemake").exists()


def test_users_arguments_win():
    built = arguments.snakemake_arguments("", "all", "", ["--workflow-profile", "mine", "table1"])
    assert built == ["--cores", "all", "--rerun-incomplete", "--workflow-profile", "mine", "table1"]


def test_targets_are_not_swallowed_by_options_with_many_values(folder):
    Path("my study.yaml").touch()
    built = arguments.snakemake_arguments("my study.yaml", "2", "paper", ["report"])
    assert built[:4] == ["--configfile", "my study.yaml", "--config", "scale=paper"]
    assert built[-2:] == ["--rerun-incomplete", "report"]


def test_scale_joins_the_users_own_settings():
    built = arguments.snakemake_arguments("", "1", "paper", ["report", "--config", "device=cpu"])
    assert built[-4:] == ["report", "--config", "scale=paper", "device=cpu"]
    built = arguments.snakemake_arguments("", "1", "paper", ["export", "--config", "device=cpu"], "my folder")
    assert built[-4:] == ["--config", "scale=paper", "export_to=./my folder", "device=cpu"]


@pytest.mark.parametrize("folder", ["my #1", "a: b", "a:"])
def test_a_folder_that_snakemake_would_read_as_another_is_refused(folder):
    with pytest.raises(LaunchError, match=r"Snakemake reads .* in a way of its own; choose another folder"):
        arguments.snakemake_arguments("", "1", "", ["export"], folder)


@pytest.mark.parametrize("folder", ["2024", "1_0", "[x]", "null", "./x", "../x", "/x y", "~/x"])
def test_a_folder_is_text_for_snakemake(folder):
    built = arguments.snakemake_arguments("", "1", "", ["export"], folder)
    (to,) = parse_config([word for word in built if word.startswith("export_to=")]).values()
    assert os.path.normpath(to) == os.path.normpath(folder)


@pytest.mark.parametrize(
    "extra",
    [
        "report --config unfinished=show",
        "report -C unfinished=show",
        "--config=unfinished=show report",
        "-C=unfinished=show report",
        "-Cunfinished=show report",
        "--config=device=cpu --config=unfinished=show report",  # the last one is what Snakemake takes
    ],
)
def test_settings_join_however_they_are_written(extra):
    """Snakemake itself reads the settings of both, and the target as a target."""
    read = get_argument_parser().parse_args(arguments.snakemake_arguments("", "1", "paper", extra.split(), "my folder"))
    assert read.config == ["scale=paper", "export_to=./my folder", "unfinished=show"]
    assert read.targets == ["report"]


def test_profile_by_name_or_folder(folder):
    built = arguments.snakemake_arguments("", "all", "", [])
    assert built == ["--cores", "all", "--workflow-profile", "workflow/profiles/workstation", "--rerun-incomplete"]
    # The cores of this machine are not those that jobs of a cluster run on, unless the user says so.
    built = arguments.snakemake_arguments("", "all", "", [], profile="slurm")
    assert built == ["--workflow-profile", "workflow/profiles/slurm", "--rerun-incomplete"]
    assert arguments.snakemake_arguments("", "4", "", [], profile="slurm")[:2] == ["--cores", "4"]
    shutil.copytree("workflow/profiles/slurm", "my profile")
    assert "my profile" in arguments.snakemake_arguments("", "all", "", [], profile="my profile")


def test_a_cluster_is_refused_where_its_jobs_could_not_start_python(folder):
    python = folder / "python"  # in a folder with a space
    python.symlink_to(sys.executable)
    call = [python, "workflow/launch.py", "--profile=slurm"]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"ddbias: jobs of a cluster cannot start {python}, because of a space or another special character in its "
        "path; work in a checkout whose path has none\n"
    )
    assert not (folder / ".snakemake/ddbias.lock").exists()


def test_unknown_profile_is_one_line(folder):
    status, output = finish(start("workflow/launch.py", "--profile=slrum"))
    assert status == 1
    assert output == (
        "ddbias: there is no profile 'slrum'; known profiles: slurm, slurm-gres, workstation, "
        "or a folder with a config.yaml\n"
    )


def test_a_profile_that_submits_needs_its_own_packages(tmp_path):
    """`make` tells by the profile's file, wherever it lies and however it writes the name."""
    expected = {"": "env", "workstation": "env", "slurm": "env-slurm", "slurm-gres": "env-slurm"}
    for name in ("slurm", '"slurm"', "'slurm'", "local"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(f"jobs: 3\nexecutor: {name}  # ours\n")
        expected[str(tmp_path / name)] = "env" if name == "local" else "env-slurm"
    for profile, needed in expected.items():
        call = ["make", "env-profile", "MAKE=echo"]
        variables = {"PATH": os.environ["PATH"], "PROFILE": profile}
        done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True, env=variables)
        assert done.stdout.split()[0] == needed, profile


def test_cache_moves_only_when_home_cannot_be_written(folder, monkeypatch):
    (folder / "home").mkdir()
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.setenv("HOME", str(folder / "home"))
    use_writable_cache()
    assert "XDG_CACHE_HOME" not in os.environ
    (folder / "file").touch()
    monkeypatch.setenv("HOME", str(folder / "file"))  # not a folder: unwritable for root too
    use_writable_cache()
    assert os.environ["XDG_CACHE_HOME"] == str(folder / ".snakemake/cache")
    assert os.environ["MPLCONFIGDIR"] == str(folder / ".snakemake/cache/matplotlib")


def test_a_user_without_name_and_home(folder, monkeypatch):
    """As in a container that is started with a number (`--user 1234`)."""

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME", "MPLCONFIGDIR"):
        monkeypatch.delenv(name, raising=False)
    use_writable_cache()
    assert os.environ["XDG_CACHE_HOME"] == str(folder / ".snakemake/cache")
    monkeypatch.setenv("PATH", str(folder))
    assert slurm_leftovers.jobs_here() == []


def test_make_help_lists_every_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("make ")}
    works = "help run status estimate check-data advise report export ledger config-reference"
    keeps = "test test-fast test-slurm lint bench lock audit docs dist clean distclean"
    assert listed == {*works.split(), *keeps.split()}
