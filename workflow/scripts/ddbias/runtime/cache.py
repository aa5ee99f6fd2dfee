"""A folder of finished outputs that studies share, named by the environment variable ``DDBIAS_CACHE``; off without it.

An entry is a folder under a digest of all that its files depend on: parameters (a digest of the code among them), the
content of every input, versions, processor and whatever else the script knows of. It is written beside its place and
renamed, so it is there whole or not at all, whoever else writes the same one; it is copied out and compared with its
checksums on the way, so results never hang on the cache. Nothing that goes wrong here stops a job: it makes its outputs
itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from ddbias.base import environment
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.base.versions import versions
from ddbias.data import store
from ddbias.runtime import processor

MANIFEST = "entry.json"
PLACE = "state"  # the parameter that names a place only, inside one study


class Entry:
    """What the cache holds, or will hold, of one job.

    Parameters
    ----------
    snakemake : object
        What Snakemake hands to a script: rule, params, input, output, config.
    facts : callable
        Returns what else the result depends on, as JSON can write it (device and threads, the files of a source), or
        None when that is not known, and the result therefore not shared. Called only when there is a cache, and again
        when the job is done.
    """

    def __init__(self, snakemake: object, facts: Callable[[], object]) -> None:
        self.folder = None
        place = os.environ.get(environment.CACHE)
        if not place:
            return
        self._facts = lambda: _all_facts(snakemake, facts())
        self.known = self._facts()
        if self.known is None:
            logger.info("not shared through the cache: not all of what it is made from is known beforehand")
            return
        self.outputs = {Path(path).name: Path(path) for path in snakemake.output}
        self.cache = Path(place).expanduser()
        self.folder = self.cache / snakemake.rule / _key(self.known)

    def take(self) -> bool:
        """Copy the outputs from the cache to where the job writes them; tell whether they were there, undamaged."""
        if self.folder is None:
            return False
        try:
            if not self.folder.is_dir():
                return False
            checksums = self._checksums()
            for name, path in self.outputs.items():
                _copy(self.folder / name, path, expected=checksums[name])
        except FileNotFoundError as error:
            if not self.folder.is_dir():  # emptied meanwhile
                return False
            self._drop(f"{Path(error.filename).name} is missing")
        except _Damage as damage:
            self._drop(str(damage))
        except OSError as error:
            logger.warning("ddbias: cannot take %s from the cache (%s); making it anew", self.folder, error.strerror)
        else:
            logger.info("taken from the cache: %s", self.folder)
            return True
        return False

    def keep(self) -> None:
        """Put the finished outputs into the cache, if they are not there and nothing they are made from has changed."""
        if self.folder is None:
            return
        part = self.folder.with_name(f".part-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            if self.folder.is_dir():
                return
            part.mkdir(parents=True)
            checksums = {name: _copy(path, part / name) for name, path in self.outputs.items()}
            store.write_json(part / MANIFEST, {"facts": self.known, "checksums": checksums})
            if not self._still_so():
                logger.info("not kept in the cache: a file that it is made from has changed meanwhile")
                return
            part.rename(self.folder)
            logger.info("kept in the cache: %s", self.folder)
        except OSError as error:
            if not self.folder.is_dir():  # else another job was quicker
                logger.warning(
                    "ddbias: cannot write the cache %s (%s), so this result is not shared; free space or change the "
                    "rights there, or correct or unset %s",
                    self.cache,
                    error.strerror,
                    environment.CACHE,
                )
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _still_so(self) -> bool:
        try:
            return self._facts() == self.known
        except (OSError, DdbiasError):  # gone
            return False

    def _checksums(self) -> dict[str, str]:
        """Return the SHA-256 of every file as the manifest states it, after checking the manifest by the key."""
        try:
            manifest = json.loads((self.folder / MANIFEST).read_bytes())
            if _key(manifest["facts"]) == self.folder.name and set(manifest["checksums"]) == set(self.outputs):
                return manifest["checksums"]
        except (ValueError, KeyError, TypeError):
            pass
        raise _Damage(f"{MANIFEST} is not what was stored")

    def _drop(self, reason: str) -> None:
        """Say that an entry is damaged and remove it, to make room for a good one."""
        logger.warning("ddbias: %s in the cache is damaged (%s); making it anew", self.folder, reason)
        waste = self.folder.with_name(f".part-{platform.node()}-{os.getpid()}-{secrets.token_hex(4)}")
        try:
            self.folder.rename(waste)  # at once: nobody sees half an entry
        except OSError:
            return  # not ours to remove, or removed already
        shutil.rmtree(waste, ignore_errors=True)


class _Damage(Exception):
    """A file of an entry is not what was stored."""


def _all_facts(snakemake: object, more: object) -> dict | None:
    """Return all that a result depends on, or None when that is not known.

    Inputs count by their content in the rule's order, not by their paths, which name the study. Code is a parameter.
    """
    if more is None or snakemake.config["plugins"]:  # a plug-in may read any file
        return None
    return {
        "rule": snakemake.rule,
        "params": {name: value for name, value in dict(snakemake.params).items() if name != PLACE},
        "inputs": [store.file_sha256(path) for path in snakemake.input],
        "more": more,
        "machine": machine(),
    }


def _key(facts: object) -> str:
    return hashlib.sha256(store.canonical_json(facts).encode()).hexdigest()


def _copy(source: Path, target: Path, expected: str | None = None) -> str:
    """Copy a file, whole or not at all, and return its SHA-256; another one than expected is `_Damage`."""
    hasher = hashlib.sha256()
    with store.whole(target) as part:
        with open(source, "rb") as given, open(part, "wb") as taken:
            while block := given.read(2**20):
                hasher.update(block)
                taken.write(block)
        if expected is not None and hasher.hexdigest() != expected:
            raise _Damage(f"{source.name} is not what was stored")
    return hasher.hexdigest()


def machine() -> dict[str, str]:
    """Return what the last bits of a result depend on, as far as it can be known without torch."""
    return {**versions(), "system": platform.system(), "processor": processor.describe()}
