"""Write every published number that a study covers, and ours beside it: the command behind `make ledger`.

Reads the studies, what they have finished in ``results/`` and the tables in ``docs/measured``; starts no Snakemake.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "scripts")]

from ddbias.base.errors import DdbiasError
from ddbias.planning.ledger import asked
from ddbias.results.ledger import page
from launcher import say
from launcher.job_environment import commit

FOLDER = "results/ledger"
OPTIONS = ("config", "to")


def main(arguments: list[str]) -> int:
    """Write the ledger; return the exit status."""
    options = dict.fromkeys(OPTIONS, "")
    for word in arguments:
        name, _, value = word.removeprefix("--").partition("=")
        if name not in options:
            say(f"unknown option {word}; known: {', '.join(OPTIONS)}")
            return 1
        options[name] = value
    studies = [options["config"]] if options["config"] else ["config.yaml", *sorted(Path("studies").glob("*.yaml"))]
    kept, folder = sorted(Path("docs/measured").glob("*.csv")), Path(options["to"] or FOLDER)
    try:
        page.write(page.read(asked(studies), published=page.PUBLISHED, kept=kept), folder, commit("."))
    except DdbiasError as error:
        for line in str(error).splitlines():
            say(line)
        return 1
    except OSError as error:
        say(f"{error.strerror}: {error.filename}; give a folder that can be written with TO=folder")
        return 1
    say(f"wrote {folder / 'ledger.md'} and {folder / 'ledger.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
