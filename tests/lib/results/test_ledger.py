"""The ledger: ours beside a published number, and the reasons for a gap out of what files record."""

import csv
import html
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.evaluation import protocol
from ddbias.planning.ledger import asked
from ddbias.results.ledger import page
from scipy import stats

STUDY = """
study: tiny
scale: quick
datasets: { photos: { source: cifar10, bias: grayscale, test: balanced } }
networks: { small: convnet }
debias: { uniform: uniform, fairdd: fairdd }
distillers:
  dm:
    kind: dm
    network: small
    iterations: { quick: 5, fast: { until: converged, at_most: 500 }, paper: 20000 }
    real_batch: 256
evaluations:
  dsa: { network: small, networks: { quick: 1, fast: 2, paper: 5 }, epochs: { quick: 10, fast: 150, paper: 1000 } }
grid:
  - { dataset: photos, ratios: [0.9], distillers: [dm], debias: [uniform, fairdd], ipc: [10], seeds: [0, 1],
      evaluations: [dsa] }
tables:
  main: &main
    metrics: [accuracy, deo_max]
    published:
      - cell:
          dataset: photos
          ratio: 0.9
          distiller: dm
          debias: [uniform, fairdd]
          ipc: 10
          evaluation: dsa
          metric: [accuracy, deo_max]
        value:
          source: Somebody (2025)
          table: { metric: { accuracy: Table 10, deo_max: Table 9 } }
          dataset: Photos
          setting: skew 0.9
          method: { debias: { uniform: DM, fairdd: "DM|Fair" } }
          metric: { metric: { accuracy: accuracy, deo_max: DEO_M } }
        differences: [the paper crops its test images]
  again: *main
"""
HEAD = "source,table,dataset,setting,method,ipc,metric,value,std\n"
PUBLISHED = HEAD + "".join(
    f"Somebody (2025),{table},Photos,skew 0.9,{method},10,{metric},{value},\n"
    for table, metric, pairs in (
        ("Table 10", "accuracy", (("DM", 60.0), ("DM|Fair", 90.0), ("MTT", 50.0))),
        ("Table 9", "DEO_M", (("DM", 80.0), ("DM|Fair", 20.0))),
    )
    for method, value in pairs
)
KEPT = (
    "dataset,ratio,distiller,debias,ipc,evaluation,metric,mean,std,interval,n,published,gap,scale,commit,device,date,study,"
    "networks,converged,iterations,moved\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a study and published numbers, in which nothing was run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    (tmp_path / "published.csv").write_text(PUBLISHED)
    return tmp_path


def run(folder, debias, seed, hits, *, scale="quick", epochs=10, **record):
    """Write what a run leaves: a set, its record, the evaluation of networks that name `hits` of 40 of each group."""
    where = f"photos/0.9/dm/{debias}/ipc10/seed{seed}"
    base = folder / "results/tiny" / scale
    counts = np.zeros((len(hits), 2, 2, 2), np.int64)
    for network, right in enumerate(hits):
        for label in range(2):
            counts[network, :, label, label], counts[network, :, label, 1 - label] = right, 40 - right
    cell = {"study": "tiny", "scale": scale, "dataset": "photos", "ratio": "0.9", "distiller": "dm", "debias": debias}
    cell |= {"ipc": "10", "seed": seed, "evaluation": "dsa"}
    rows = protocol.rows(protocol.Outcome(counts, [None] * len(counts)), cell)
    meta = {"convention": "balanced", "settings": {"epochs": epochs, "networks": len(hits)}}
    store.write_table(
        base / f"evaluations/{where}/dsa.parquet", {key: [row[key] for row in rows] for key in rows[0]}, meta
    )
    settings = {"distiller": {"kind": "dm", "iterations": 900, "until": "converged", "real_batch": 64}}
    made = base / f"distilled/{where}"
    store.write_tensors(made / "distilled.safetensors", {"labels": torch.arange(2)}, {"settings": settings})
    facts = {"commit": "abc123", "device": "cpu", "date": "2026-01-02T03:04:05+00:00"}
    store.write_json(made / "run.json", facts | ({"distillation": record} if record else {}))
    store.write_arrow(
        base / "data/photos/0.9/train.arrow", {"label": np.arange(2)}, {"source": {"note": "JPEG copies"}}
    )


def ledger(folder, kept=()):
    return page.read(asked(["tiny.yaml"]), published=folder / "published.csv", kept=kept, folder=folder)


def line(found, method, metric):
    (one,) = [one for one in found.lines if one.keys["method"] == method and one.keys["metric"].startswith(metric)]
    return one


def test_results_with_interval_and_reasons(folder):
    run(folder, "uniform", 0, (20, 24), iterations=400, at_most=900, moved=1.75, converged=False)
    run(folder, "uniform", 1, (30, 30), iterations=450, at_most=900, moved=2.0, converged=True)
    run(folder, "fairdd", 0, (36,), epochs=1000, iterations=20000, at_most=20000, moved=30.04, converged=True)
    found = ledger(folder)
    assert [one.asked.table for one in found.lines] == ["main"] * 4  # the table `again` names them again
    uniform = line(found, "DM", "accuracy")
    assert uniform.ours.mean == pytest.approx(65)
    assert uniform.ours.interval == pytest.approx(stats.t.ppf(0.975, 1) * np.std([55, 75], ddof=1) / np.sqrt(2))
    assert uniform.gap == pytest.approx(5)
    assert uniform.within
    assert not uniform.near
    summary = (
        "4 of these were run. Tables print some of these again: counted once they are 4, of which 1 are within 3 "
        "points of ours (accuracy 1), and 1 more only within its interval. 0 of those"
    )
    assert summary in page.markdown(found, "abc")
    assert not replace(uniform, ours=replace(uniform.ours, interval=None)).within
    assert uniform.status == "not converged"
    assert uniform.reasons == [
        "scale quick",
        "450 of 20,000 iterations",
        "64 of 256 real images a class and step",
        "2 of 5 networks",
        "10 of 1,000 epochs",
        "not converged",
        "a pixel moved by 1.8 to 2 of 255 on average",
        "JPEG copies",
        "the paper crops its test images",
    ]
    assert (uniform.ours.origin, uniform.ours.commit, uniform.ours.date) == (
        "results/tiny/quick",
        "abc123",
        "2026-01-02",
    )
    fair = line(found, "DM|Fair", "accuracy")
    assert (fair.ours.interval, fair.status) == (None, "run")
    assert fair.gap == 0
    assert fair.near
    assert "converged" in fair.reasons
    assert "1 of 2 seeds" in fair.reasons
    assert not any("iterations" in reason or "epochs" in reason for reason in fair.reasons)


def test_the_largest_scale_is_shown(folder):
    run(folder, "uniform", 0, (20,))
    run(folder, "uniform", 0, (30,), scale="fast")
    found = line(ledger(folder), "DM", "accuracy").ours
    assert (found.mean, found.scale) == (pytest.approx(75), "fast")
    kept = folder / "kept.csv"
    kept.write_text(
        KEPT + "photos,0.9,dm,uniform,10,dsa,accuracy,70.00,,,2,60.00,10.00,fast,c,cpu,2026-01-01,tiny,2,,,\n"
    )
    assert line(ledger(folder, [kept]), "DM", "accuracy").ours.mean == pytest.approx(75)  # results before kept tables


def test_a_kept_table_is_taken_where_it_is_the_studys(folder):
    kept = folder / "kept.csv"
    row = "photos,0.9,dm,{},10,dsa,accuracy,{},1.00,5.00,{},60.00,10.00,fast,c0ffee,cpu,2026-01-01,{},"
    row += "2,false true,500 700,3.5\n"  # of the seeds, the most
    for study in ("another", ""):  # the same cell, and the same published number, but perhaps of other images
        kept.write_text(KEPT + row.format("uniform", "70.00", 2, study))
        assert line(ledger(folder, [kept]), "DM", "accuracy").ours is None
    kept.write_text(KEPT + row.format("uniform", "70.00", 2, "tiny"))
    found = line(ledger(folder, [kept]), "DM", "accuracy")
    assert (found.ours.mean, found.ours.interval, found.ours.seeds, found.ours.commit) == (70, 5, 2, "c0ffee")
    assert found.status == "not converged"
    assert found.reasons[0] == (
        "scale fast (in the study now: 700 of 20,000 iterations, learning rate 10.0 instead of 1.0, step "
        "scaled instead of published, decay cosine instead of none, updates per network 2 instead of 1, "
        "2 of 5 networks, 150 of 1,000 epochs)"
    )
    third = folder / "third.csv"
    third.write_text(KEPT + row.format("uniform", "71.00", 3, "tiny"))
    assert line(ledger(folder, [kept, third]), "DM", "accuracy").ours.seeds == 3
    assert line(ledger(folder, [third, kept]), "DM", "accuracy").ours.seeds == 3
    kept.write_text("dataset,ratio\n")
    with pytest.raises(DdbiasError, match=r"kept\.csv is no kept table: it lacks distiller, debias"):
        ledger(folder, [kept])


def test_two_studies_of_the_same_cells_are_asked_for_both(folder):
    (folder / "other.yaml").write_text(STUDY.replace("study: tiny", "study: other"))
    of_one = asked(["tiny.yaml"])
    assert len(of_one) == 4  # though two of its tables say so
    both = asked(["tiny.yaml", "other.yaml"])
    assert [one.study for one in both] == ["tiny"] * 4 + ["other"] * 4
    assert both[:4] == of_one


def test_a_number_of_several_tables_counts_once(folder):
    """As FairDD prints one row in several tables: the one of most seeds counts."""
    again = "Somebody (2025),Table 11,Photos,skew 0.9,DM|Fair,10,accuracy,90.0,\n"
    (folder / "published.csv").write_text(PUBLISHED + again)
    study = yaml.safe_load(STUDY)
    (entry,) = [one for one in study["tables"]["main"]["published"] if one]
    value = {**entry["value"], "table": "Table 11", "method": "DM|Fair", "metric": "accuracy"}
    cell = {**entry["cell"], "debias": "fairdd", "metric": "accuracy"}
    study["tables"]["main"]["published"].append({"cell": cell, "value": value})
    (folder / "tiny.yaml").write_text(json.dumps(study))
    run(folder, "fairdd", 0, (36,))
    found = ledger(folder)
    assert len([one for one in found.lines if one.ours]) == 3
    text = page.markdown(found, "abc")
    assert (
        "cover 5; 3 of these were run. Tables print some of these again: counted once they are 2, of which 1 " in text
    )


def test_of_cells_that_try_one_number_the_one_of_most_work_counts(folder):
    """Whatever its seeds are: else the best of many tries would count."""
    study = yaml.safe_load(STUDY)
    study["distillers"]["dm_long"] = {
        **study["distillers"]["dm"],
        "iterations": {"quick": 50, "fast": 500, "paper": 20000},
    }
    study["grid"][0]["distillers"].append("dm_long")
    (entry,) = study["tables"]["main"]["published"]
    entry["cell"]["distiller"] = ["dm", "dm_long"]
    (folder / "tiny.yaml").write_text(json.dumps(study))
    kept = folder / "kept.csv"
    rows = [
        f"photos,0.9,{distiller},uniform,10,dsa,accuracy,{mean},1.0,1.0,{seeds},,,quick,abc,cpu,2026-01-02,tiny,1,True,{steps},1"
        for distiller, mean, seeds, steps in (("dm", 60.0, 3, 5), ("dm_long", 50.0, 1, 50))
    ]
    kept.write_text(KEPT + "\n".join(rows) + "\n")
    found = ledger(folder, [kept])
    assert [one.gap for one in found.lines if one.ours] == [0, -10]
    text = page.markdown(found, "abc")
    assert (
        "cover 4; 1 of these were run. Tables print some of these again: counted once they are 1, of which 0 " in text
    )


def test_markdown_of_what_was_not_run(folder):
    text = page.markdown(ledger(folder), "abc")
    assert "Of 5 published numbers studies cover 4; 0 of these were run." in text
    assert text.index("### Table 9") < text.index("### Table 10")
    assert "In every line: dataset Photos, setting skew 0.9, ipc 10, metric DEO_M ↓, study tiny." in text
    assert r"| DM\|Fair | 20.0 | – | – | – | not run, command 2 |" in text
    assert "| Somebody (2025) | Table 10 | 3 | 2 | 0 |" in text
    files = " ".join(
        f"results/tiny/quick/evaluations/photos/0.9/dm/fairdd/ipc10/seed{seed}/dsa.parquet" for seed in (0, 1)
    )
    assert text.endswith(f"\n2. `make run CONFIG=tiny.yaml 'ARGS={files}'`\n")
    widths = [len(re.findall(r"(?<!\\)\|", row)) for row in text.splitlines() if row.startswith("|")]
    assert set(widths) == {6, 7}


def test_page_has_every_line_and_asks_for_nothing(folder):
    nasty = STUDY.replace("the paper crops its test images", '"<script>alert(1)</script>"')
    (folder / "tiny.yaml").write_text(nasty)
    run(folder, "uniform", 0, (20,), converged=False)
    page.write(ledger(folder), folder / "out/put", "abc")
    text = (folder / "out/put/ledger.html").read_text()
    assert (folder / "out/put/ledger.md").is_file()
    assert text.count('<tr class="run"') == 4
    assert "<script>alert" not in text
    assert html.escape("<script>alert(1)</script>") in text
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=\"?(http|//|file)", text)
    assert ">not converged</td>" in text
    assert 'data-value="-10.0"' in text  # a gap is sorted by its value, whatever its sign looks like


def test_a_study_that_is_wrong_is_named(folder):
    study = yaml.safe_load(STUDY)
    study["distillers"]["dm"]["iterations"] = {"quick": 5, "fast": 500}
    (folder / "tiny.yaml").write_text(json.dumps(study))
    with pytest.raises(DdbiasError, match=r"^tiny\.yaml: distillers.dm.iterations: has no value for the scale 'paper'"):
        asked(["tiny.yaml"])


def test_published_numbers_of_this_repository():
    with page.PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1635
    assert all(np.isfinite(float(row["value"])) for row in rows)
