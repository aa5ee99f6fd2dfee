"""A run on one machine looks for jobs to start when one has ended, and not ever more often."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = f"""\
import sys

sys.path[:0] = ["{ROOT}/workflow", "{ROOT}/workflow/scripts"]
from launcher import rate_limit
from snakemake.scheduling.job_scheduler import JobScheduler

LIFT
again = JobScheduler._schedule_reevalutation


def timed(self, delay):
    with open("timers", "a") as file:
        file.write("another\\n")
    again(self, delay)


JobScheduler._schedule_reevalutation = timed


rule all:
    input:
        expand("made/{{n}}", n=range(3)),


rule make:
    output:
        "made/{{n}}",
    shell:
        "touch {{output}}"
"""


@pytest.mark.slow
@pytest.mark.parametrize("lift", ["rate_limit.lift(workflow)", ""])
def test_no_timers_look_for_jobs_on_this_machine(tmp_path, lift):
    (tmp_path / "Snakefile").write_text(SNAKEFILE.replace("LIFT", lift))
    subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--quiet"], cwd=tmp_path, check=True)
    assert len(list((tmp_path / "made").iterdir())) == 3
    assert (tmp_path / "timers").exists() is not bool(lift)  # without it: that there is something to lift
