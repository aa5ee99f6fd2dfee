# Makes the library importable. Run by itself, the workflow uses its own; a module of another workflow uses the installed
# one, as that is what its jobs find, and its own only where none is installed.
import importlib.util
import os
import re
import sys

ALONE = workflow.modifier.is_main_snakefile()  # not a module of another workflow
SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(workflow.snakefile)), "scripts")  # there, unless it is at a host
installed = importlib.util.find_spec("ddbias")  # a mere folder of this name has no file
if ALONE:
    sys.path[:0] = [SCRIPTS, os.path.dirname(SCRIPTS)]
elif (installed is None or installed.origin is None) and SCRIPTS not in sys.path:
    sys.path.append(SCRIPTS)

with open(workflow.source_path("../scripts/ddbias/__init__.py")) as file:
    version = re.search(r'^__version__ = "(.+)"', file.read(), re.MULTILINE)[1]
try:
    from ddbias import __version__ as found
except ImportError:
    found = "not installed"
if found != version:
    sys.exit(
        f"ddbias: this workflow needs the library ddbias {version}, and it is {found}; install that version into the "
        "environment of Snakemake"
    )
