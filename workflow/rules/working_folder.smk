# Refuses what does not work yet in words of its own, before Snakemake misses a file.
import os
import sys

# In a module, this is the folder of the Snakefile that uses it.
if not os.path.isdir(os.path.join(workflow.basedir, "workflow", "scripts")):
    sys.exit(
        "ddbias: this workflow cannot be a module of another one yet; run it in its own folder (`make run`), and read "
        "what it wrote to results/"
    )
if os.path.realpath(workflow.basedir) != os.path.realpath(os.getcwd()):
    sys.exit(
        f"ddbias: the working directory is {os.getcwd()}, but the workflow runs in its own folder only: cd "
        f"{workflow.basedir} without --directory; to keep results elsewhere, make results/ there a link to that place"
    )
