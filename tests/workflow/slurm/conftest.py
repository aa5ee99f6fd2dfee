"""Runs of a small study through a SLURM of their own, beside the same study run on this machine alone."""

import importlib.util
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).resolve().parent
# The first look at jobs that take seconds comes after seconds.
OPTIONS = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10")
STATES = {"DDBIAS_STATE_SECONDS": "0.2"}


def load(name):
    """Import a module that lies beside this file."""
    spec = importlib.util.spec_from_file_location(f"ddbias_tests_{name}", HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def cluster(request):
    """A running cluster, of one node or as a test's parameter says; the tests end at once where there can be none."""
    options = getattr(request, "param", {})
    module = load("cluster")
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("ddbias: the tests were terminated", returncode=143))
    module.stop_leftover()
    reason = module.why_not()
    if reason:
        pytest.exit(f"ddbias: no SLURM to test on: {reason}", returncode=1)
    if options.get("accounting") and (reason := module.why_no_accounting()):
        pytest.skip(f"no accounting to test: {reason}")
    state = tempfile.mkdtemp(prefix=module.PREFIX)  # not below pytest's folder, which only its owner may enter
    started = module.Cluster(state, **options)
    try:
        started.start()
        yield started
    finally:
        started.stop()
    assert module.why_not() is None, "something of SLURM was left behind"
    assert not list(Path(state).glob("*.pid"))
    shutil.rmtree(state)


def write_study(checkout, name="tiny.yaml", *, long=0, cut=False, **changes):
    """Write the tiny study, cut to some eight jobs, or with a distiller of `long` steps in place of all others."""
    checkout.study("whole.yaml")
    settings = yaml.safe_load((checkout / "whole.yaml").read_text())
    if cut:
        settings["grid"] = [
            settings["grid"][0] | {"debias": ["kde"]},
            settings["grid"][1] | {"evaluations": ["convnet"]},
        ]
    if long:
        settings["distillers"]["long"] = settings["distillers"]["dm"] | {
            "iterations": {"quick": long},
            "augment": "none",
        }
        settings["grid"] = [settings["grid"][0] | {"distillers": ["long"], "debias": ["uniform"]}]
        settings["figures"] = {}
    return checkout.study(name, **settings | changes)


def results_of(checkout, study="tiny"):
    """Return the content of all results that are promised to be the same, by path."""
    root = checkout / "results" / study / "quick"
    aside = {"logs", "benchmarks", "report"}  # times, and a page that links to them
    found = {}
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] not in aside and path.name != "run.json":
            found[str(relative)] = path.read_bytes()
    return found


class Submitted:
    """A checkout whose runs go through SLURM, and the jobs that SLURM has noted since."""

    def __init__(self, checkout, cluster, profile="slurm"):
        self.checkout, self.cluster, self.profile = checkout, cluster, profile
        self.before = {job["id"] for job in cluster.jobs()}

    def start(self, config, *extra, profile=None, **variables):
        """Start `make run CONFIG=config PROFILE=... ARGS=extra`."""
        words = ("workflow/launch.py", f"--config={config}", "--cores=all", f"--profile={profile or self.profile}")
        return self.checkout.start(*words, "--", *OPTIONS, *extra, **self.cluster.environment, **STATES, **variables)

    def run(self, config, *extra, profile=None, **variables):
        """The same, to its end; returns exit status and output."""
        process = self.start(config, *extra, profile=profile, **variables)
        output, _ = process.communicate(timeout=1500)
        return process.returncode, output

    def jobs(self, **wanted):
        """Return what SLURM has noted of this checkout's jobs."""
        found = [job for job in self.cluster.jobs() if job["id"] not in self.before]
        return [job for job in found if all(job[key] == value for key, value in wanted.items())]

    def counts(self):
        """Return how many jobs of each rule SLURM has noted."""
        return Counter(job["rule"] for job in self.jobs())

    def wait_for(self, condition, seconds=120):
        """Wait until `condition()` is true and return its value."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, (self.jobs(), self.logs())
            time.sleep(0.2)
        return value

    def logs(self):
        """Return what the batch jobs have printed."""
        return "\n".join(path.read_text() for path in (self.checkout / ".snakemake/slurm_logs").rglob("*.log"))

    def study(self, name="tiny.yaml", **changes):
        """Write a small study and return its path."""
        return write_study(self.checkout, name, **changes)

    def results(self, study="tiny"):
        return results_of(self.checkout, study)


@pytest.fixture(scope="session")
def read_results():
    return results_of


@pytest.fixture
def submitted(checkout, cluster):
    """A checkout of one's own in which nothing has been run."""
    return Submitted(checkout, cluster)


@pytest.fixture(scope="session")
def finished_locally(pristine, tmp_path_factory):
    """The results of a small study that was run on this machine: `finished_locally(long=..., cut=...)`."""
    made = {}

    def run(**changes):
        key = tuple(sorted(changes.items()))
        if key not in made:
            checkout = pristine.copy(tmp_path_factory.mktemp("local") / "a checkout")
            status, output = checkout.run(write_study(checkout, "tiny.yaml", **changes))
            assert status == 0, output
            made[key] = results_of(checkout)
        return made[key]

    return run
