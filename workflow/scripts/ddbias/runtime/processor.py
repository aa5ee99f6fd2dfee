"""The type of this processor: compiled code and the last bits of a result depend on it."""

from __future__ import annotations

import platform
from pathlib import Path

from ddbias.data import store

X86 = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
ARM = ("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features")


def describe() -> str:
    """Return a description of the type of processor: the model and its instruction sets, else the host's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.machine()} {platform.node()}"
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    found = {name: fields[name] for name in (*X86, *ARM) if name in fields}
    if not found:
        return f"{platform.machine()} {platform.node()}"
    return f"{found.get('model name', platform.machine())} {store.digest(found)}"
