import os
from types import SimpleNamespace

import pytest
import torch
from ddbias.base.environment import STATE_SECONDS
from ddbias.base.errors import DdbiasError
from ddbias.runtime import checkpoint
from ddbias.runtime.checkpoint import Checkpoint, fingerprint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TENSORS = {
    "images": torch.arange(24, dtype=torch.float32).view(2, 3, 4) / 7,
    "momentum.0": torch.tensor([float("nan"), float("inf"), -0.0]),
    "batches": torch.tensor(3),  # what batch norm counts is a scalar
    "labels": torch.arange(5).flip(0)[::2],
    "none": torch.zeros(0, 3),
}


def equal(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].numpy().tobytes() == b[k].numpy().tobytes()
        for k in a
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "seed0.safetensors"


def test_what_was_saved_is_loaded(path, log_lines):
    Checkpoint(path, "job").save(7, TENSORS)
    step, tensors = Checkpoint(path, "job").load()
    assert step == 7
    assert equal(tensors, TENSORS)
    assert log_lines == ["resuming from step 7"]
    Checkpoint(path, "job").save(9, {"images": torch.ones(1)})
    assert Checkpoint(path, "job").load() == (9, {"images": torch.ones(1)})
    assert [file.name for file in path.parent.iterdir()] == ["seed0.safetensors"]  # no part file


def test_nothing_saved_is_nothing_loaded(path, log_lines):
    assert Checkpoint(path, "job").load() == (0, {})
    assert log_lines == []


def test_the_state_of_another_job_is_ignored(path, log_lines):
    Checkpoint(path, "job").save(7, TENSORS)
    assert Checkpoint(path, "other job").load() == (0, {})
    assert log_lines == [f"state {path} belongs to other settings or code, starting over"]


def test_a_truncated_state_is_ignored(path, log_lines):
    Checkpoint(path, "job").save(7, TENSORS)
    whole = path.read_bytes()
    lengths = [0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1]
    for length in lengths:
        path.write_bytes(whole[:length])
        assert Checkpoint(path, "job").load() == (0, {})
    assert len(log_lines) == len(lengths)
    assert all("starting over" in line and "\n" not in line for line in log_lines)
    path.write_bytes(whole)
    assert Checkpoint(path, "job").load()[0] == 7


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "state.safetensors"
    Checkpoint(path, "job").save(123, TENSORS)
    return path.read_bytes()


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_flipped_byte_is_never_taken_up(saved, tmp_path, log_lines, position, flip):
    content = bytearray(saved)
    content[int(position * len(content))] ^= flip
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    log_lines.clear()
    step, tensors = Checkpoint(path, "job").load()
    if (step, tensors) == (0, {}):
        assert len(log_lines) == 1
        assert "starting over" in log_lines[0]
    else:  # white space in the header
        assert step == 123
        assert equal(tensors, TENSORS)


def test_a_changed_step_is_noticed(saved, tmp_path, log_lines):
    path = tmp_path / "state.safetensors"
    path.write_bytes(saved.replace(b'\\"step\\":123', b'\\"step\\":124'))
    assert path.read_bytes() != saved
    assert Checkpoint(path, "job").load() == (0, {})
    (line,) = log_lines
    assert line.startswith(f"state ignored, starting over: {path} is damaged")


def test_a_failed_save_keeps_the_last_state(path, monkeypatch):
    state = Checkpoint(path, "job")
    state.save(1, TENSORS)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state.save(2, TENSORS)
    assert Checkpoint(path, "job").load()[0] == 1
    assert [file.name for file in path.parent.iterdir()] == ["seed0.safetensors"]


def test_removed_when_the_job_is_done(path):
    state = Checkpoint(path, "job")
    state.remove()  # nothing there yet
    state.save(1, TENSORS)
    state.remove()
    assert not path.exists()


def test_due_every_so_many_seconds(path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    state = Checkpoint(path, "job", every=15)
    seen = []
    for clock[0] in (100.0, 114.9, 115.0, 120.0):
        seen.append(state.due())
    state.save(1, {})
    for clock[0] in (134.9, 135.0):
        seen.append(state.due())
    assert seen == [False, False, True, True, False, True]


def test_seconds_come_from_the_environment(path, monkeypatch):
    monkeypatch.delenv(STATE_SECONDS, raising=False)
    assert Checkpoint(path).every == 15
    monkeypatch.setenv(STATE_SECONDS, "0.5")
    assert Checkpoint(path).every == 0.5
    assert Checkpoint(path, every=3).every == 3
    monkeypatch.setenv(STATE_SECONDS, "often")
    with pytest.raises(DdbiasError, match="DDBIAS_STATE_SECONDS=often is not a number of seconds, 0 or more; correct"):
        Checkpoint(path)


def test_without_a_path_nothing_is_kept(tmp_path):
    state = Checkpoint(None, "job", every=0)
    state.save(3, TENSORS)
    assert not state.due()
    assert state.load() == (0, {})
    state.remove()
    assert list(tmp_path.iterdir()) == []


def test_fingerprint(tmp_path):
    code, data = tmp_path / "engine.py", tmp_path / "train.arrow"
    code.write_text("a")
    data.write_text("b")
    params, inputs = {"seed": 0, "settings": {"kind": "dm", "rate": 1.0}}, [str(code), str(data)]
    first = fingerprint(params, inputs, {})
    os.utime(code, (1, 1))
    assert fingerprint({"settings": {"rate": 1.0, "kind": "dm"}, "seed": 0}, inputs, {}) == first  # order and date
    others = [fingerprint({**params, "seed": 1}, inputs, {}), fingerprint(params, inputs[:1], {})]
    others.append(fingerprint(params, inputs, {"torch": "another"}))
    others.append(fingerprint({"seed": 0, "settings": {"kind": "dm", "rate": 2.0}}, inputs, {}))
    data.write_text("c")
    others.append(fingerprint(params, inputs, {}))
    assert len({first, *others}) == 6
    data.write_text("b")
    assert fingerprint(params, inputs, {}) == first


def test_a_slow_disk_gets_fewer_states(path, monkeypatch):
    """Saving may take a twentieth of the time, so a state that took 2 seconds is followed by 40 without one."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(checkpoint.store, "write_tensors", lambda *_: setattr(now, "seconds", now.seconds + 2))
    kept = Checkpoint(path, "job", every=15)
    now.seconds += 15
    assert kept.due()
    kept.save(1, TENSORS)
    now.seconds += 39
    assert not kept.due()
    now.seconds += 1
    assert kept.due()
