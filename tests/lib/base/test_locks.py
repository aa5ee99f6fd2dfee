"""Locks on files, also where a file system has none: Lustre, NFS and others each say so in a way of their own."""

import errno
import fcntl
import logging
import os
import subprocess
import sys

import pytest
from ddbias.base import locks
from ddbias.base.environment import GPU_SLOTS
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.datasets.sources import archive
from ddbias.runtime import compile_cache, gpu_slots

MISSING = [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP]


@pytest.fixture(params=MISSING, ids=errno.errorcode.get)
def no_locks(request, monkeypatch):
    """A file system without locks; returns what it says."""
    words = os.strerror(request.param)

    def flock(descriptor, how):
        raise OSError(request.param, words)

    monkeypatch.setattr(fcntl, "flock", flock)
    return words


def test_a_lock_holds_until_its_file_is_closed(tmp_path):
    code = "import sys; from ddbias.base import locks; file = open(sys.argv[1]); locks.take(file.fileno(), 6)"
    call = [sys.executable, "-c", code, tmp_path / "lock"]
    variables = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with open(tmp_path / "lock", "w") as file:
        locks.take(file.fileno(), fcntl.LOCK_EX)
        done = subprocess.run(call, env=variables, capture_output=True, text=True)
        assert done.stderr.splitlines()[-1].startswith("BlockingIOError")
    assert subprocess.run(call, env=variables).returncode == 0
    assert locks.exist(tmp_path)
    assert not list(tmp_path.glob("tmp*"))


def test_other_errors_are_what_they_were(tmp_path, monkeypatch):
    def flock(descriptor, how):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with open(tmp_path / "lock", "w") as file, pytest.raises(OSError, match="Input/output") as caught:
        locks.take(file.fileno(), fcntl.LOCK_EX)
    assert not isinstance(caught.value, locks.NoLocks)


def test_a_data_folder_without_locks_is_said_and_used(no_locks, tmp_path, caplog):
    with caplog.at_level(logging.INFO, "ddbias"), archive.locked(tmp_path / "data"):
        (tmp_path / "data/file").touch()
    (said,) = caplog.messages
    assert said == f"no lock on {tmp_path / 'data'} ({no_locks}): jobs may download the same file at once"


def test_gpus_without_locks_are_shared_out_by_chance(no_locks, tmp_path, monkeypatch, caplog):
    told = f'{{"gpus": ["0", "1"], "jobs_per_gpu": 1, "folder": "{tmp_path / "slots"}"}}'
    monkeypatch.setenv(GPU_SLOTS, told)
    chosen = []
    for pid in (10, 11):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        with caplog.at_level(logging.INFO, "ddbias"):
            gpu_slots.take({"gpu": 1})
        chosen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert chosen == ["0", "1"]
    why = f"no locks in {tmp_path / 'slots'} ({no_locks})"
    assert caplog.messages[0] == f"computing on the GPU 0, perhaps not alone: {why}"
    assert len(caplog.messages) == 2


def test_torch_compiles_where_it_can_lock(no_locks, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(compile_cache.VARIABLE, raising=False)
    compile_cache.use()
    assert compile_cache.VARIABLE not in os.environ


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM])
@pytest.mark.parametrize("there", [True, False])
def test_a_data_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, number, there):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("builtins.open" if there else "pathlib.Path.mkdir", refuse)
    with pytest.raises(DdbiasError) as caught, archive.locked(tmp_path / "data"):
        pass
    assert str(caught.value) == (
        f"cannot write to {tmp_path / 'data'}, where data sets are brought to; "
        "list this folder under data.mirrors and set data.root to a writable one"
    )


@pytest.mark.parametrize(("mask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_results_have_the_rights_that_the_user_s_umask_gives(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        store.write_json(tmp_path / "run.json", {})
    finally:
        os.umask(before)
    assert (tmp_path / "run.json").stat().st_mode & 0o777 == mode
