"""Write docs/config.md, every key of a study file as the schema and the kinds declare it: `make config-reference`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "scripts"))

from ddbias.planning.config import load_schema
from ddbias.planning.reference import reference

if __name__ == "__main__":
    (HERE.parent / "docs/config.md").write_text(reference(load_schema()))
