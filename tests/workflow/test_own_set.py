"""The file of a finished set: another one, wherever it lies and whatever its date, makes the set again."""

import os
import time

import pytest
import torch

SET = "results/own_set/quick/distilled/digits_fg/0.95/theirs/uniform/ipc10/seed0/distilled.safetensors"


def write(path, seed):
    images = torch.rand(100, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    torch.save([images, torch.arange(10).repeat_interleave(10)], path)


@pytest.mark.thorough
def test_a_changed_file_makes_the_set_again(checkout):
    write(checkout / "theirs_0.95.pt", 0)
    status, output = checkout.run("studies/own_set.yaml", SET)
    assert status == 0, output
    assert checkout.planned("studies/own_set.yaml", SET) == {}
    write(checkout / "theirs_0.95.pt", 1)
    tomorrow = time.time() + 86_400  # as from an archive of another time zone
    os.utime(checkout / "theirs_0.95.pt", (tomorrow, tomorrow))
    assert checkout.planned("studies/own_set.yaml", SET) == {"distill": 1}
    status, output = checkout.run("studies/own_set.yaml", SET)
    assert status == 0, output
    assert checkout.planned("studies/own_set.yaml", SET) == {}
    (checkout / "theirs_0.95.pt").unlink()
    status, output = checkout.run("studies/own_set.yaml", SET)
    assert status != 0
    assert "theirs_0.95.pt is not found (under the working directory" in output
