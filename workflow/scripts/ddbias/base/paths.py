"""Where the library's own files lie: in ``workflow/`` of a checkout, inside the package where it is installed."""

from __future__ import annotations

from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]  # the folder of this package
SCRIPTS = LIBRARY.parent  # in a checkout, the scripts of the rules, too
INSTALLED = (LIBRARY / "schemas").is_dir()  # as a package, not a checkout
_BESIDE = LIBRARY if INSTALLED else SCRIPTS.parent
SCHEMAS, RESOURCES, SNAKEFILE = _BESIDE / "schemas", _BESIDE / "resources", _BESIDE / "Snakefile"
