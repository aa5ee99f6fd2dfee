"""Hostile names in every medium: what is shown is the name, and nothing of it is obeyed."""

import html
import html.parser
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
from ddbias.base import escape, paths, terminal

NAMES = {
    "dollars": "$a_b$ a$^$b $0_$25k",
    "pipe": "a|b",
    "lines": "a\nb\r\n\tc",
    "script": "<script>alert('1')</script>",
    "entity": "&lt;b&gt; AT&T",
    "terminal": "\x1b[31mred\x1b[0m\x07\x9b2J",
    "turned": "\u202egnp.exe\u2066",
    "marks": r"50 % & # _x_ __y__ {} ~ ^ \ * ** ` [a](b) ![c](d) \section{x} \\",
    "heading": "# a #",
    "list": "- a",
    "number": "1. a",
    "quotation": "> a",
    "long": "x" * 10_000,
    "right to left": "שלום عالم",
    "cjk": "猫と犬 고양이",
    "accents": "Erdős Łukasz ß é ﬁ ą 🐈 Ωω",
    "half a pair": "a\ud800b",
    "empty": "",
}
WRITTEN = {"\x1b": r"\x1b", "\x07": r"\x07", "\x9b": r"\x9b", "\u202e": r"\u202e", "\u2066": r"\u2066"}
each_name = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)


def plain(name):
    """What a person should see."""
    text = " ".join(name.replace("\ud800", r"\ud800").split())
    for character, written in WRITTEN.items():
        text = text.replace(character, written)
    return text


@each_name
def test_terminal(name):
    shown = terminal.terminal(name)
    assert shown.isprintable()
    assert len(shown) <= terminal.LONGEST_LINE
    if len(name) < 1000:
        assert shown == plain(name)


def test_a_long_line_keeps_its_cause_and_its_remedy():
    shown = terminal.terminal(f"the cause is {'x' * 100_000}; the remedy")
    assert shown.startswith("the cause is x")
    assert shown.endswith("x; the remedy")
    assert "… (100,025 characters) …" in shown


def test_lines_of_a_traceback_keep_their_spaces():
    assert terminal.terminal_line("    a  \x1bb") == r"    a  \x1bb"


@each_name
def test_html(name):
    class Text(html.parser.HTMLParser):
        tags, text = (), ""

        def handle_starttag(self, tag, attributes):
            self.tags = (*self.tags, tag)
            self.title = dict(attributes)["title"]

        def handle_data(self, data):
            self.text += data

    parser = Text()
    parser.feed(f'<p title="{escape.html(name)}">{escape.html(name)}')
    parser.close()
    assert parser.tags == ("p",)
    assert parser.text == parser.title
    assert parser.text == plain(name) or "…" in parser.text


@each_name
def test_markdown(name):
    """Undoing what CommonMark undoes gives the name; a cell of a table stays one."""
    shown = escape.markdown(name)
    assert not re.search(r"[|`*\[\]$~]", re.sub(r"\\[\\|`*\[\]$~]", "", shown))
    assert "<" not in shown
    undone = html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", lambda found: {"&": "&amp;"}.get(found[1], found[1]), shown))
    assert undone == plain(name) or "…" in undone
    assert not re.match(r"#|- |> |\d+[.)] |[-=]+$", shown)
    assert escape.markdown("group_balanced") == "group_balanced"


@each_name
def test_markdown_code(name):
    shown = escape.markdown_code(name)
    fence = re.match("`+", shown)[0]
    assert shown.endswith(fence)
    assert not re.search(f"(?<!`){fence}(?!`)", shown[len(fence) : -len(fence)])
    assert escape.markdown_block("a\n```\nb", "json") == "````json\na\n```\nb\n````"


def test_latex_of_single_characters():
    assert escape.latex("50 % & #_{}") == r"50 \% \& \#\_\{\}"
    assert escape.latex("a--b") == "a-{}-b"
    assert escape.latex("é ą ẹ") == r"\'{e} \ifdefined\Umathcode ą\else a\fi{} \d{e}"
    assert escape.latex("猫") == r"\ifdefined\Umathcode 猫\else {[}U+732B{]}\fi{}"


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here")
def test_latex_compiles(tmp_path):
    """With the document class of the kernel alone, in text, in a caption and at the begin of a line of a table."""
    names = [escape.latex(name) for name in NAMES.values()]
    lines = [r"\documentclass{article}\begin{document}\listoftables", *(f"{name}\n" for name in names)]
    lines += [rf"\begin{{table}}\caption{{{' '.join(names)}}}\end{{table}}"]
    lines += [r"\begin{tabular}{l}", *(rf"{name} \\" for name in names), r"\end{tabular}\end{document}"]
    (tmp_path / "a.tex").write_text("\n".join(lines), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "a.tex"]
    for _ in range(2):  # the second time with the list of tables
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "a.log").read_text(errors="replace")


@each_name
@pytest.mark.parametrize("template", ["table", "figure"])
def test_captions_in_the_report_of_snakemake(name, template):
    """They are reStructuredText, which has a directive for raw HTML."""
    from docutils.core import publish_parts
    from jinja2 import Template

    text = (paths.RESOURCES.parent / "report" / f"{template}.rst").read_text()
    for caption in (name, f".. raw:: html\n\n   {name}"):
        params = SimpleNamespace(caption=caption, kind="weights")
        job = SimpleNamespace(params=params, wildcards=SimpleNamespace(table="main", study="digits", scale="quick"))
        rst = Template(text).render(snakemake=job).replace("\ud800", "")
        body = publish_parts(rst, writer="html", settings_overrides={"report_level": 5})["body"]
        shown = re.match("<p>(.*?)</p>", body, re.DOTALL)[1]
        assert "<" not in shown
        wanted = " ".join(caption.replace("\ud800", "").split())
        assert html.unescape(shown).strip() == (f"{wanted[:1997]}..." if len(wanted) > 2000 else wanted)
