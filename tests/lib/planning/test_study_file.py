"""Study files of strangers and of tired people: readable lines with their place, and nothing that runs."""

import json
import random
from pathlib import Path

import pytest
import yaml
from ddbias.base.errors import DdbiasError
from ddbias.planning.config import ConfigErrors
from ddbias.planning.load import load
from ddbias.planning.study_file import read_yaml
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
STUDIES = [ROOT / "config.yaml", *sorted(ROOT.glob("studies/*.yaml"))]
TEXT = (ROOT / "config.yaml").read_text()


def read(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_our_own_studies_are_read_as_plain_yaml_reads_them(path):
    assert read_yaml(path) == yaml.safe_load(path.read_text())


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("study: a\n\tscale: fast\n", "line 2, column 1: .*; indent with spaces"),
        ("caption: a: b\n", "line 1, column 11: mapping values are not allowed here; put a text with a colon in"),
        ("study: [a, b\nscale: fast\n", "line 2, column 6: while parsing a flow sequence, expected"),
        ("study: a\nstudy: b\n", "line 2, column 1: 'study' is already in line 1; remove or rename one"),
        ("tables:\n  main: {}\n  main: {}\n", "line 3, column 3: 'main' is already in line 2"),
        ("__use_yte__: true\nstudy: a\n", "line 1, column 1: __use_yte__ would run Python code"),
        ("study: a\ndata: { __use_yte__: true }\n", "line 2, column 9: __use_yte__ would run Python code"),
        ("study: a\nseeds: [0100]\n", "line 2, column 9: YAML reads 0100 as an octal number"),
        ("study: a\ntime: 1:40\n", "line 2, column 7: YAML reads 1:40 as a number to the base 60"),
        (f"study: {'9' * 5000}\n", "line 1, column 8: a number of 5,000 characters"),
        (b"caption: caf\xe9\n", "line 1: byte 0xe9 is no UTF-8; save the file as UTF-8"),
        ("study: a\nx: \x07\n", "line 2: the character #x0007 is not allowed"),
        ("a: &a [*a]\n", "line 1, column 4: holds itself"),
        (BOMB, "has more than 200,000 values"),
        (f"a: {'[' * 100}{']' * 100}\n", "is more than 40 levels deep"),
        (f"a: {'[' * 20000}", "is more than 40 levels deep"),
        ("? [a, b]\n: c\n", "a key must be text"),
        ("a: !!python/object/apply:os.system ['true']\n", "could not determine a constructor"),
    ],
)
def test_mistakes_have_their_place(tmp_path, text, said):
    with pytest.raises(DdbiasError, match=said) as error:
        read(tmp_path, text)
    assert len(str(error.value)) < 400


def test_json_is_read_as_json(tmp_path):
    """As Snakemake reads it; in YAML, 1e-05 is text."""
    study = {"learning_rate": 1e-05, "ratios": [0.95, 95e-2], "names": ["é", None, True]}
    assert read(tmp_path, json.dumps(study)) == study
    assert read(tmp_path, "rate: 1e-05\n") == {"rate": "1e-05"}
    with pytest.raises(DdbiasError, match="'a' is already in line 1"):
        read(tmp_path, '{"a": 1, "a": 2}')


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DdbiasError, match=r"cannot be read .No such file or directory."):
        read_yaml(tmp_path / "gone.yaml")


def test_dates_want_quotes_and_an_empty_file_is_nothing(tmp_path):
    """Snakemake reads the file on in its own way, with dates."""
    assert read(tmp_path, "study: '2024-01-01'\nother: 2024-1\n") == {"study": "2024-01-01", "other": "2024-1"}
    for date in ("2024-01-01", "2019-02-30", "2024-01-01 10:00:00"):
        with pytest.raises(DdbiasError, match=f"line 2, column 8: YAML reads {date} as a date; put it in quotes"):
            read(tmp_path, f"study: a\nother: {date}\n")
    assert read(tmp_path, "") is None
    assert read(tmp_path, b"\xef\xbb\xbfstudy: a\n") == {"study": "a"}


def plannable_or_readable(tmp_path, text):
    """Read and plan a text; returns whether it is a study, after checking that all else is lines for people."""
    try:
        load(read(tmp_path, text))
        return True
    except ConfigErrors as error:
        lines = error.lines
    except DdbiasError as error:
        lines = [str(error)]
    assert lines
    assert all(line and "\n" not in line and len(line) < 4000 for line in lines)
    return False


PIECES = [
    "0",
    "-1",
    "1e400",
    "'",
    '"',
    ": ",
    "- ",
    "[",
    "}",
    "&a ",
    "*a",
    "null",
    "~",
    "no",
    "\t",
    "\0",
    "é",
    "{}",
    "9" * 50,
]


def mutated(seed):
    """Return config.yaml with a few changes that people and accidents make."""
    draws = random.Random(seed)
    lines = TEXT.splitlines(keepends=True)
    for _ in range(draws.randint(1, 3)):
        at = draws.randrange(len(lines))
        line = lines[at]
        place = draws.randrange(len(line) + 1)
        lines[at] = draws.choice(
            [
                lambda line, place: line[:place] + draws.choice(PIECES) + line[place:],
                lambda line, place: line[:place] + line[place + 1 :],
                lambda line, place: "",
                lambda line, place: line + line,
                lambda line, place: "  " + line,
                lambda line, place: line.replace(": ", ": " + draws.choice(PIECES) + " #", 1),
            ]
        )(line, place)
    return "".join(lines)


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_mutated_study_is_plannable_or_told_in_lines(tmp_path_factory, seed):
    plannable_or_readable(tmp_path_factory.mktemp("fuzz"), mutated(seed))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"debias": {"none": "uniform"}}, "debias.none: has a meaning of its own in a study"),
        ({"debias": {"x" * 61: "uniform"}}, "a name may have 60 letters at most"),
        ({"debias": {"a\nb": "uniform"}}, "a name may have letters, digits and underscores only"),
    ],
)
def test_names_become_parts_of_file_names(change, said):
    with pytest.raises(ConfigErrors) as error:
        load(yaml.safe_load(TEXT) | change)
    assert [line for line in error.value.lines if said in line]
    assert all(len(line) < 400 for line in error.value.lines)


@pytest.mark.parametrize("value", [1e308, 5e-324, -1e200])
def test_numbers_of_no_usual_size_are_refused(value):
    study = yaml.safe_load(TEXT)
    study["debias"]["kde"]["temperature"] = value
    with pytest.raises(ConfigErrors, match=r"debias.kde.temperature = .*: is no number of a usual size"):
        load(study)


def test_truth_where_a_text_was_meant_is_explained():
    study = yaml.safe_load(TEXT)
    study["datasets"]["digits_fg"]["bias"] = {"kind": "none", "pairs": [True, False]}
    with pytest.raises(ConfigErrors) as error:
        load(study)
    assert [line for line in error.value.lines if "YAML reads yes, no, on and off as true and false" in line]
