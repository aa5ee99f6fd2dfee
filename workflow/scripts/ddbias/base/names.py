"""Names of classes and attributes as people write them."""

from __future__ import annotations

import unicodedata


def composed(text: object) -> str:
    """Return text as Unicode's NFC, in which é is one character: in the file names of a Mac it is two."""
    return unicodedata.normalize("NFC", str(text))
