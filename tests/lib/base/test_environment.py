"""Values of the variables that a user sets: those that make sense pass, the others are one line each."""

import pytest
from ddbias.base import environment


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in (environment.DATA, environment.STATE_SECONDS, environment.GPUS, environment.JOBS_PER_GPU):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        (environment.DATA, ["", "."], ["no/such/folder", "a:b", __file__]),
        (environment.STATE_SECONDS, ["", "0", "0.5", "1e3"], ["often", "-1", "nan", "inf", "1,5"]),
        (environment.GPUS, ["", "0", "0,1", "a, b", "GPU-1f,MIG-2"], ["0 1", "0,,1", ",", "0,1,"]),
        (environment.JOBS_PER_GPU, ["", "1", "12"], ["0", "-1", "1.5", "many"]),
    ],
)
def test_values_that_make_no_sense_are_one_line(monkeypatch, name, good, bad):
    assert environment.problems() == []
    for value in good:
        monkeypatch.setenv(name, value)
        assert environment.problems() == [], value
    for value in bad:
        monkeypatch.setenv(name, value)
        (line,) = environment.problems()
        assert line.startswith(f"{name}={value} is not a")
        assert "; " in line, "what to do"
