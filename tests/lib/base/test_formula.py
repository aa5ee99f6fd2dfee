"""Formulas of declarations: arithmetic, and nothing that runs code."""

import pytest
from ddbias.base.errors import DdbiasError
from ddbias.base.plugins.declarations import read
from ddbias.base.plugins.formula import names, value

TEXT = "0.5 + (steps or at(ipc, 1, 50, 10, 30)) * min(ipc, 8) / (2 if way == 'half' else 1)"


def test_a_formula_is_worked_out():
    assert names(TEXT) == {"steps", "ipc", "way"}
    assert value(TEXT, {"steps": None, "ipc": 4, "way": "half"}) == 100.5
    assert value(TEXT, {"steps": 1, "ipc": 20, "way": ""}) == 8.5


@pytest.mark.parametrize("given", [{}, {"a": None}, {"a": "text"}])
def test_what_cannot_be_told_is_none(given):
    assert value("a / 2", given) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 +",
        "open('x')",
        "a.b",
        "().__class__",
        "[1][0]",
        "9 ** 9 ** 9",
        "1 << 99",
        "(lambda: 1)()",
        "f'{a}'",
        "(x := 1)",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"formula|function"):
        names(text)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("2 * real_bach", "the unknown name 'real_bach'. Did you mean 'real_batch'?"),
        ("a.b", "holds Attribute, which no"),
    ],
)
def test_a_mistake_in_a_plugin_is_one_line(tmp_path, formula, message):
    options = {name: {"default": 1} for name in ("iterations", "real_batch", "init")}
    entry = {"distiller": {"mine": {"seconds": formula, "options": options}}}
    (tmp_path / "mine.py").write_text(f"PLUGIN = {entry!r}\n\n\nclass Distiller: ...\n")
    with pytest.raises(DdbiasError) as caught:
        read([tmp_path / "mine.py"])
    assert message in str(caught.value)
