# What surrounds the jobs of a run of this workflow by itself. A module of another one has none of it: whose run it is,
# his are the lock, the shell and the environment of jobs.
import logging

from ddbias.base import environment
from ddbias.planning import progress
from ddbias.runtime import compile_cache
from launcher import gpus, job_environment, lock, rate_limit, records

# On a full disk, a line that Snakemake cannot write to its log is on the screen all the same, without a traceback.
logging.raiseExceptions = False
if not workflow.subprocess_exec and (wrong := environment.problems()):
    sys.exit("\n".join(f"ddbias: {line}" for line in wrong))
records.keep_records_true(workflow)
lock.lock_work(workflow)  # around it, so that the lock is taken first
rate_limit.lift(workflow)
job_environment.quote_executable()
job_environment.put_library_first(SCRIPTS)
job_environment.name_run(SCRIPTS)
if workflow.is_main_process or environment.GIVEN not in os.environ:  # the study files of a job are copies
    given = {key: value for key, value in workflow.config_settings.config.items() if key != "export_to"}
    job_environment.name_given(workflow.overwrite_configfiles, given)
compile_cache.use()
if not workflow.subprocess_exec:  # a part of a run: what the run has told holds for it, too
    gpus.share(False)

# SIGTERM often reaches all processes around a job. The shell waits for it then, and Snakemake with it, until the job has
# removed its part files: without the trap it would end at once, and what follows (a SLURM step ends) would kill the job.
shell.prefix("set -euo pipefail; trap : TERM; ")


report: "../report/workflow.rst"


onstart:
    gpus.share(workflow.local_exec and not workflow.remote_exec)
    progress.watched.append((study, {str(path) for job in workflow.dag.jobs for path in job.output}))
