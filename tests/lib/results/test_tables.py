import csv
import html
import html.parser
import itertools
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ddbias.base.cell import shortest
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.results.tables.formats import CSV_COLUMNS, fixed, tex_escape
from ddbias.results.tables.published import read_published, select_published
from ddbias.results.tables.read import read_evaluations
from ddbias.results.tables.tabulate import tabulate
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

PUBLISHED = Path(__file__).parents[3] / "workflow" / "resources" / "published_results.csv"
KDE_NUMBER = {
    "source": "Cui et al. arXiv 2406.06609 (abstract)",
    "table": "Abstract",
    "dataset": "CMNIST",
    "setting": "conflict ratio 5%",
    "method": "DM+KDE reweighting",
    "ipc": 50,
    "metric": "accuracy",
}


def evaluation(path, values, *, seed=0, convention="balanced", **cell):
    """Write an evaluation file; `values` maps a metric to one value per network."""
    cell = {
        "study": "digits",
        "scale": "quick",
        "dataset": "digits",
        "ratio": "0.95",
        "distiller": "dm",
        "debias": "kde",
        "ipc": "10",
        "evaluation": "convnet",
        **cell,
    }
    rows = [(repeat, metric, v) for metric, vs in values.items() for repeat, v in enumerate(vs)]
    columns = {name: [value] * len(rows) for name, value in cell.items()}
    columns |= {"seed": [seed] * len(rows), "repeat": [r for r, _, _ in rows], "metric": [m for _, m, _ in rows]}
    columns |= {"value": [float(v) for *_, v in rows], "support": [360] * len(rows)}
    store.write_table(path, columns, {"convention": convention, "counts": []})
    return path


def row(published=None, **changes):
    base = {"dataset": "digits", "ratio": 0.95, "distiller": "dm", "debias": "kde", "ipc": 10}
    return {**base, "evaluation": "convnet", "metric": "unbiased_accuracy", "published": published, **changes}


def make(folder, evaluations, rows, *, commit="abc123", caption="A table", **options):
    outputs = {form: folder / f"main.{form}" for form in ("csv", "md", "tex", "html")}
    tabulate(
        evaluations=evaluations,
        rows=rows,
        published=PUBLISHED,
        scale="quick",
        commit=commit,
        outputs=outputs,
        caption=caption,
        **options,
    )
    return {form: path.read_text() for form, path in outputs.items()}


def lines(text):
    return list(csv.DictReader(text.splitlines()))


@pytest.fixture
def three_seeds(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 0.7, (3, 3))
    files = [
        evaluation(tmp_path / f"{seed}.parquet", {"unbiased_accuracy": values[seed]}, seed=seed) for seed in range(3)
    ]
    return files, [100 * v for v in values.reshape(-1)]


def test_csv_pools_networks_and_seeds_in_percent(tmp_path, three_seeds):
    files, percent = three_seeds
    text = make(tmp_path / "t", files, [row(KDE_NUMBER)])["csv"]
    assert text.splitlines()[0].split(",") == [
        *("dataset", "ratio", "distiller", "debias", "ipc", "evaluation", "metric"),
        *("mean", "std", "interval", "n", "published", "gap", "scale"),
    ]
    (line,) = lines(text)
    mean = statistics.fmean(percent)
    expected = ["digits", "0.95", "dm", "kde", "10", "convnet", "unbiased_accuracy"]
    of_seeds = [statistics.fmean(percent[3 * seed : 3 * seed + 3]) for seed in range(3)]
    interval = 4.302653 * statistics.stdev(of_seeds) / 3**0.5  # Student's t for two degrees of freedom
    expected += [
        f"{mean:.2f}",
        f"{statistics.pstdev(percent):.2f}",
        f"{interval:.2f}",
        "9",
        "91.50",
        f"{mean - 91.5:.2f}",
        "quick",
    ]
    assert list(line.values()) == expected


def test_a_cell_without_runs_says_so_in_every_format(tmp_path, three_seeds):
    files, _ = three_seeds
    texts = make(tmp_path / "t", [*files, tmp_path / "later.parquet"], [row(), row(KDE_NUMBER, distiller="dc")])
    unfinished = lines(texts["csv"])[1]
    assert {k: unfinished[k] for k in ("mean", "std", "n", "published", "gap")} == {
        "mean": "", "std": "", "n": "0", "published": "91.50", "gap": "",
    }  # fmt: skip
    for form in ("md", "tex", "html"):
        assert texts[form].count("not run yet") == 1
        assert "3 of 4 evaluations" in texts[form]


def test_a_table_without_any_run_is_still_made(tmp_path):
    texts = make(tmp_path / "t", [tmp_path / "later.parquet"], [row()])
    assert lines(texts["csv"])[0]["n"] == "0"
    assert "not run yet" in texts["md"]


def test_a_metric_that_the_test_set_cannot_give_is_missing_not_zero(tmp_path):
    file = evaluation(tmp_path / "a.parquet", {"conflicting_accuracy": [0.4, 0.6]}, convention="anti")
    texts = make(tmp_path / "t", [file], [row(), row(metric="conflicting_accuracy")])
    first, second = lines(texts["csv"])
    assert (first["mean"], first["n"]) == ("", "0")
    assert (second["mean"], second["std"], second["n"]) == ("50.00", "10.00", "2")
    assert "not defined" in texts["md"]
    assert "not run yet" not in texts["md"]
    assert "anti (conflicting samples only)" in texts["md"]


def test_one_value_has_no_deviation(tmp_path):
    file = evaluation(tmp_path / "a.parquet", {"unbiased_accuracy": [0.625]})
    texts = make(tmp_path / "t", [file], [row()])
    assert (lines(texts["csv"])[0]["std"], lines(texts["csv"])[0]["n"]) == ("", "1")
    assert "62.5 ± – | 1 |" in texts["md"]
    assert r"62.5 $\pm$ -- & 1 \\" in texts["tex"]


def test_people_may_ask_for_the_interval(tmp_path, three_seeds):
    files, percent = three_seeds
    made = make(tmp_path / "t", files, [row()], spread="interval")
    (line,) = lines(made["csv"])
    means = np.reshape(percent, (3, 3)).mean(1)
    low, high = stats.t.interval(0.95, 2, loc=means.mean(), scale=stats.sem(means))
    assert float(line["interval"]) == pytest.approx((high - low) / 2, abs=0.005)
    assert f"{means.mean():.1f} ± {(high - low) / 2:.1f}" in made["md"]
    assert "mean ± 95 %" in made["html"]
    assert "Student's t" in made["md"]
    assert "standard deviation" not in made["md"] + made["html"] + made["tex"]


def test_the_interval_of_one_seed_is_of_its_networks(tmp_path):
    path = evaluation(tmp_path / "0.parquet", {"unbiased_accuracy": [0.5, 0.6]})
    found = float(lines(make(tmp_path, [path], [row()])["csv"])[0]["interval"])
    assert found == pytest.approx(12.706 * 5, abs=0.02)  # Student's t for one degree of freedom


def test_a_metric_of_several_cells_is_put_together(tmp_path):
    """A distilled set loses 30 points to the bias, the whole set 5: 25 more."""
    parts = {"distilled": (0.5, 0.52), "from_unbiased": (0.8, 0.82), "whole": (0.9,), "whole_unbiased": (0.95,)}
    files, terms = [], {}
    for part, values in parts.items():
        terms[part] = {**row(distiller=part), "ratio": "0.95", "metric": "conflicting_accuracy"}
        files.append(evaluation(tmp_path / part, {"conflicting_accuracy": values}, distiller=part))
    asked = row(metric="conflicting_amplification", terms=terms)
    made = make(tmp_path, files, [asked])
    found = lines(made["csv"])[0]
    assert (found["mean"], found["std"], found["n"]) == ("25.00", "", "1")  # one value has no deviation
    assert "conflicting amplification ↓" in made["md"]
    assert "Amplification: points of accuracy" in made["md"]
    unfinished = make(tmp_path, files[:-1], [asked])
    assert lines(unfinished["csv"])[0]["mean"] == ""
    assert "not run yet" in unfinished["md"]


def test_the_csv_has_the_same_bytes_at_another_commit_and_order_of_files(tmp_path, three_seeds):
    files, _ = three_seeds
    one = make(tmp_path / "a", files, [row()], commit="abc123")
    two = make(tmp_path / "b", files[::-1], [row()], commit="def456")
    assert one["csv"] == two["csv"]
    for form in ("md", "tex", "html"):
        assert "abc123" in one[form]
        assert "scale quick" in one[form].lower()
        assert one[form].replace("abc123", "def456") == two[form]


def test_lines_and_metric_groups_keep_the_order_of_the_rows(tmp_path):
    metrics = {"unbiased_accuracy": [0.5], "deo_max": [0.25]}
    debias = ("uniform", "kde")
    files = [evaluation(tmp_path / f"{name}.parquet", metrics, debias=name) for name in debias]
    rows = [row(debias=name, metric=metric) for name, metric in itertools.product(debias, metrics)]
    table = [line for line in make(tmp_path / "t", files, rows)["md"].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    # What is the same in every line is said once above the table.
    assert cells[0] == ["debias", "unbiased accuracy", "n", "DEO max ↓", "n"]
    assert cells[2:] == [["uniform", "50.0 ± –", "1", "25.0 ± –", "1"], ["kde", "50.0 ± –", "1", "25.0 ± –", "1"]]


def test_one_cell_against_two_published_numbers_gets_two_lines(tmp_path, three_seeds):
    files, _ = three_seeds
    texts = make(tmp_path / "t", files, [row({**KDE_NUMBER, "method": "DM"}), row(KDE_NUMBER)])
    assert [line["published"] for line in lines(texts["csv"])] == ["23.80", "91.50"]
    assert sum("| 23.8 |" in line or "| 91.5 |" in line for line in texts["md"].splitlines()) == 2


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.spans = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.spans.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_names_cannot_break_out_of_any_format(tmp_path):
    name = 'a|b_<script>alert("1")</script>&50%'
    file = evaluation(tmp_path / "a.parquet", {"unbiased_accuracy": [0.5, 0.6]}, debias=name)
    texts = make(tmp_path / "t", [file], [row(debias=name), row()], caption=f"{name}\nx")
    parsed = Tags()
    parsed.feed(texts["html"])
    assert "script" not in parsed.tags
    assert name in parsed.text
    assert lines(texts["csv"])[0]["debias"] == name
    table = [line.replace("\\|", "") for line in texts["md"].splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "<script>" not in texts["md"].replace("\\<", "")
    assert r"a\textbar{}b\_\textless{}script\textgreater{}" in texts["tex"]


def test_every_line_of_a_format_has_as_many_cells_as_its_head(tmp_path, three_seeds):
    files, _ = three_seeds
    rows = [row(KDE_NUMBER), row(metric="deo_max"), row(distiller="dc"), row(distiller="dc", metric="deo_max")]
    texts = make(tmp_path / "t", files, rows)
    tex = [line for line in texts["tex"].splitlines() if line.endswith(r"\\")]
    columns = 1 + 4 + 2
    assert [line.count("&") + 1 for line in tex[1:]] == [columns] * 3
    assert texts["tex"].count(r"\begin{tabular}{lrrrrrr}") == 1
    parsed = Tags()
    parsed.feed(texts["html"])
    assert parsed.tags.count("td") == 2 * columns
    assert sum(
        int(a.get("colspan", 1)) for t, a in parsed.spans if t == "th" and ("colspan" in a or "rowspan" in a)
    ) == (columns)


@given(st.text(alphabet="ab&%$#_{}\\~^<>|±–", max_size=30))
def test_tex_escape_leaves_no_active_character(text):
    escaped = tex_escape(text)
    plain = escaped
    for command in ("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"):
        plain = plain.replace(f"\\{command}{{}}", "")
    plain = plain.replace(r"$\pm$", "").replace("--", "")
    for character in "&%$#_{}":
        plain = plain.replace(f"\\{character}", "")
    assert set(plain) <= set("ab")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"method": "DM+KDE"}, "DM+KDE reweighting"),
        ({"metric": "EOD"}, "unknown metric 'EOD'"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_a_selector_without_its_number_is_one_line(changes, line):
    with pytest.raises(DdbiasError) as caught:
        select_published(read_published(PUBLISHED), {**KDE_NUMBER, **changes})
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_selector_of_several_numbers_names_what_is_left_open():
    selector = {k: v for k, v in KDE_NUMBER.items() if k != "method"}
    with pytest.raises(DdbiasError, match=r"3 numbers match .*give also method"):
        select_published(read_published(PUBLISHED), selector)


def test_a_deviation_that_was_published_is_shown(tmp_path, three_seeds):
    files, _ = three_seeds
    selector = {"source": "README VICO-UoE/DatasetCondensation", "table": "DM text", "dataset": "CIFAR10"}
    with open(PUBLISHED, newline="") as file:
        truth = [r for r in csv.DictReader(file) if all(r[k] == v for k, v in selector.items())]
    assert truth[0]["std"], "the test needs a number with a deviation"
    selector |= {key: truth[0][key] for key in ("setting", "method", "ipc", "metric")}
    shown = f"{float(truth[0]['value']):.1f} ± {float(truth[0]['std']):.1f}"
    assert shown in make(tmp_path / "t", files, [row(selector)])["md"]


def test_damaged_and_foreign_evaluations_are_one_line(tmp_path):
    foreign, percent, torn = (tmp_path / name for name in ("foreign.parquet", "percent.parquet", "torn.parquet"))
    store.write_table(foreign, {"x": [1]}, {})
    evaluation(percent, {"accuracy": [91.5]})
    torn.write_bytes(percent.read_bytes()[:100])
    for path, words in ((foreign, "lacks the columns study, scale"), (percent, "outside 0..1"), (torn, "damaged")):
        with pytest.raises(DdbiasError, match=words) as caught:
            read_evaluations([path])
        assert "\n" not in str(caught.value)


def test_what_is_relative_to_real_images_may_be_above_one(tmp_path):
    path = evaluation(tmp_path / "a.parquet", {"pixel_distance": [1.25, 0.75], "coverage": [0.5, 1.0]})
    assert read_evaluations([path])["value"].max() == 1.25
    text = make(tmp_path / "t", [path], [row(metric="pixel_distance"), row(metric="coverage")])["md"]
    assert "100.0 ± 25.0" in text
    assert "n counts draws of real images" in text
    for values in ({"coverage": [1.25]}, {"density": [-0.1]}, {"density": [float("nan")]}):
        with pytest.raises(DdbiasError, match="holds a value outside"):
            read_evaluations([evaluation(tmp_path / "b.parquet", values)])


def test_a_network_counted_twice_and_a_foreign_scale_are_refused(tmp_path):
    one = evaluation(tmp_path / "a.parquet", {"accuracy": [0.5]})
    copy = evaluation(tmp_path / "b.parquet", {"accuracy": [0.5]})
    with pytest.raises(DdbiasError, match="one network twice"):
        read_evaluations([one, copy])
    paper = evaluation(tmp_path / "c.parquet", {"accuracy": [0.5]}, scale="paper")
    with pytest.raises(DdbiasError, match="scale paper"):
        make(tmp_path / "t", [paper], [row()])
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("value", "text"), [(0.95, "0.95"), ("0.950", "0.95"), (1.0, "1"), (0, "0"), ("natural", "natural"), (0.1, "0.1")]
)
def test_ratios_are_written_shortest(value, text):
    assert shortest(value) == text


def test_numbers_are_fixed_and_never_minus_zero():
    assert [fixed(-0.001, 2), fixed(-0.001, 1, sign=True), fixed(None, 2), fixed(2.345, 1, sign=True)] == [
        "0.00", "0.0", "", "+2.3",
    ]  # fmt: skip
    assert len(CSV_COLUMNS) == 14


def test_people_facing_modules_do_not_load_torch():
    scripts = PUBLISHED.parents[1] / "scripts"
    modules = ", ".join(
        f"ddbias.results.{name}"
        for name in ("tables.tabulate", "report.page", "figures.accuracy", "figures.weights", "figures.images")
    )
    code = f"import sys; sys.path.insert(0, {str(scripts)!r}); import {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
