"""Which GPUs the jobs on this machine share, and how many jobs may use one. Standard library only, no torch.

The launcher counts them for Snakemake's ``--resources gpu=``; the Snakefile tells jobs (`share`), each of which takes
a slot of its own (``ddbias.runtime.gpu_slots``). No result depends on any of it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

from ddbias.base.environment import GPU_SLOTS, GPUS, JOBS_PER_GPU, problem

from launcher import LaunchError

SECONDS = 60.0  # nvidia-smi wakes the driver where nothing holds it, seconds for each GPU
# One place for all runs of a user on a machine, whatever their folder, their home (perhaps another machine's) and
# their TMPDIR are. Not /run/user, which is emptied when the user logs out and leaves a run behind.
FOLDER = Path("/tmp")


def share(local: bool) -> None:
    """Tell the jobs of this process which GPUs they share; for the Snakefile, before the first job.

    Parameters
    ----------
    local : bool
        Whether jobs run on this machine. Elsewhere a scheduler gives them their devices, and nothing is shared.
    """
    os.environ.pop(GPU_SLOTS, None)
    names = devices() if local else []
    if names:
        folder = FOLDER / f"ddbias-gpus-{os.getuid()}"
        os.environ[GPU_SLOTS] = json.dumps({"gpus": names, "jobs_per_gpu": jobs_per_gpu(), "folder": str(folder)})


def count() -> int:
    """Return how many jobs the GPUs of this machine hold at once; 0 without one."""
    return len(devices()) * jobs_per_gpu()


def jobs_per_gpu() -> int:
    """Return how many jobs may use one GPU at once; anything but a positive number raises `LaunchError`."""
    if wrong := problem(JOBS_PER_GPU):
        raise LaunchError(wrong)
    return int(os.environ.get(JOBS_PER_GPU) or 1)


def devices() -> list[str]:
    """Return the GPUs that jobs may use, as ``CUDA_VISIBLE_DEVICES`` names them; empty without one.

    By their UUID where possible, so that two runs mean the same device whatever each of them may see. Numbers in the
    user's ``CUDA_VISIBLE_DEVICES`` are those of ``nvidia-smi -L``. As with CUDA, a word that names none ends it.
    """
    given = os.environ.get(GPUS)
    if given is not None:
        found = [name.strip() for name in given.split(",") if name.strip()]
    else:
        found = [] if _torch_is_for_the_cpu() else _installed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    chosen = []
    for word in map(str.strip, visible.split(",")):
        by_number = dict(enumerate(found)).get(int(word)) if word.isdecimal() else None
        name = by_number or next((name for name in found if word and name.startswith(word)), None)
        if name is None:
            break
        chosen.append(name)
    return list(dict.fromkeys(chosen))


def _torch_is_for_the_cpu() -> bool:
    """Tell whether this environment's torch was built without CUDA; where there is none, jobs have one of their own."""
    found = importlib.util.find_spec("torch")  # imports nothing
    if found is None or found.origin is None:
        return False
    try:
        version = Path(found.origin).with_name("version.py").read_text()
    except OSError:
        return False
    return re.search(r"^cuda\b.*= None$", version, re.MULTILINE) is not None


def _installed() -> list[str]:
    """Return the GPUs that this machine has; of one that is divided (MIG), its parts instead."""
    call = ["nvidia-smi", "-L"]
    try:
        listing = subprocess.run(call, capture_output=True, text=True, check=True, timeout=SECONDS).stdout
    except FileNotFoundError:  # a container with the driver only
        return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
    except (OSError, subprocess.SubprocessError):
        return []
    found: list[str] = []
    for uuid in re.findall(r"\(UUID: ((?:GPU|MIG)-[^)]+)\)", listing):
        if uuid.startswith("MIG-") and found and found[-1].startswith("GPU-"):
            found.pop()
        found.append(uuid)
    return found
