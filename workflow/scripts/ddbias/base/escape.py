"""A text of a user (a class name, a caption, a path) in Markdown, LaTeX and HTML: one function for each.

Line breaks become spaces, and control characters are written out (`ddbias.base.terminal`). Figures have their own in
`ddbias.results.figures.names`.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata

from ddbias.base.terminal import line, shortened

LONGEST_WORD = 100  # characters that are shown of it


def _words(text: object) -> str:
    """Return a text on one line, long words without their middle."""
    return " ".join(shortened(word, LONGEST_WORD) for word in line(text).split(" "))


# ---- HTML ---------------------------------------------------------------------------------------------------------


def html(text: object) -> str:
    """Return a text as HTML, also for an attribute in quotes; templates do it by themselves."""
    return _html.escape(_words(text))


# ---- Markdown -----------------------------------------------------------------------------------------------------

_MARKDOWN = (
    (re.compile(r"&(?=#?\w+;)"), "&amp;"),
    (re.compile("<"), "&lt;"),  # not \<, which not every reader knows
    (re.compile(r"([\\`*\[\]|~$])"), r"\\\1"),
    (re.compile(r"(?<![^\W_])_|_(?![^\W_])"), r"\_"),  # inside a word, as in group_balanced, it is no markup
    (re.compile(r"^(?=[-+](?: |$)|#{1,6}(?: |$)|>|=+$|-+$)"), r"\\"),
    (re.compile(r" (?=#+$)"), r" \\"),  # would close a heading
    (re.compile(r"^(\d+)(?=[.)](?: |$))"), r"\1\\"),
)


def markdown(text: object) -> str:
    r"""Return a text as Markdown (CommonMark with the tables of GitHub), also for a cell of a table.

    Examples
    --------
    >>> print(markdown("a|b <script> $x$ group_balanced _x_"))
    a\|b &lt;script> \$x\$ group_balanced \_x\_
    """
    text = _words(text)
    for pattern, instead in _MARKDOWN:
        text = pattern.sub(instead, text)
    return text


def markdown_code(text: object) -> str:
    """Return a text as a span of code in Markdown, in which only a row of backticks means something."""
    text = line(text)
    fence = _fence(text, 1)
    space = " " if text[:1] == "`" or text[-1:] == "`" else ""
    return f"{fence}{space}{text}{space}{fence}"


def markdown_block(text: str, language: str = "") -> str:
    """Return lines of our own, such as JSON, as a block of code in Markdown."""
    fence = _fence(text, 3)
    return f"{fence}{language}\n{text}\n{fence}"


def _fence(text: str, least: int) -> str:
    return "`" * max(least, 1 + max(map(len, re.findall("`+", text)), default=0))


# ---- LaTeX --------------------------------------------------------------------------------------------------------

_ACCENTS = {  # combining accents, and the commands that every encoding of LaTeX has
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0331": "b",
}
_GREEK = {
    "αβγδεζηθικλμν": "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu",
    "ξπρστυφχψω": "xi pi rho sigma tau upsilon phi chi psi omega",
    "ΓΔΘΛΞΠΣΥΦΨΩ": "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega",
}
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},  # would be an option of a line that ends before them
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": "$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≈": r"$\approx$",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "∞": r"$\infty$",
    "…": r"\dots{}",
    "–": "--",
    "—": "---",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "£": r"\pounds{}",
    "§": r"\S{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "å": r"\aa{}",
    "Å": r"\AA{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    **{a: rf"$\{b}$" for letters, names in _GREEK.items() for a, b in zip(letters, names.split(), strict=True)},
}


def latex(text: object) -> str:
    r"""Return a text as LaTeX that any engine takes without a package.

    What pdfTeX has no letter for is itself in XeTeX and LuaTeX, and in pdfTeX its plain letters or its code point.

    Examples
    --------
    >>> print(latex("50 % of Erdős & Co."))
    50 \% of Erd\H{o}s \& Co.
    """
    text = unicodedata.normalize("NFC", _words(text))
    text = re.sub("-(?=-)", "-\0", text)  # two hyphens would become a dash
    return "".join(map(_latex, text)).replace("\0", "{}")


def _latex(character: str) -> str:
    if character in _LATEX or character.isascii():
        return _LATEX.get(character, character)
    base, *marks = unicodedata.normalize("NFD", character)
    if len(marks) == 1 and base.isascii() and marks[0] in _ACCENTS:
        return f"\\{_ACCENTS[marks[0]]}{{{base}}}"
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    instead = "".join(map(_latex, plain)) if plain else f"{{[}}U+{ord(character):04X}{{]}}"
    return rf"\ifdefined\Umathcode {character}\else {instead}\fi{{}}"
