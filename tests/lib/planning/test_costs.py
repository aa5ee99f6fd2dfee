import csv
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ddbias.planning.costs import measured as measured_costs
from ddbias.planning.costs import resources as costs
from ddbias.planning.costs import work as job_costs
from ddbias.planning.costs.report import aligned, duration, report, size
from ddbias.planning.jobs import jobs
from ddbias.planning.load import load

ROOT = Path(__file__).resolve().parents[3]
STUDIES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "config.yaml", *ROOT.glob("studies/*.yaml")])
HEAD = "stage,kind,ipc,precision,unit,seconds_per_unit,peak_memory_mb,device,threads\n"
TABLE = """\
distill,dm,1,fast,iteration,0.2,900,cpu X,1
distill,dm,50,fast,iteration,0.5,1500,cpu X,1
distill,dm,50,exact,iteration,5,1500,cpu X,1
distill,mtt,10,exact,iteration,20,2000,cpu X,1
evaluate,training,,exact,pass,0.003,400,cpu X,1
evaluate,training,,fast,pass,0.002,400,cpu X,1
train_surrogate,surrogate,,,pass,0.006,400,cpu X,1
estimate_weights,kde,,,pair,1e-8,400,cpu X,1
synthesize_dataset,foreground,,,image,0.0001,400,cpu X,1
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A table of round numbers instead of the shipped one."""
    path = tmp_path / "costs.csv"
    path.write_text(HEAD + TABLE)
    with path.open(newline="") as file:
        read = tuple(csv.DictReader(file))
    monkeypatch.setattr(job_costs, "rows", lambda: read)
    monkeypatch.setattr(costs, "rows", lambda: read)


def study(name="studies/cui2024_main.yaml", **changes):
    return load(yaml.safe_load((ROOT / name).read_text()) | changes)


def small(**changes):
    """A study of one job of every stage, on MNIST."""
    config = {
        "study": "small",
        "scale": "paper",
        "device": "cpu",
        "datasets": {"d": {"source": "mnist", "bias": {"kind": "foreground"}}},
        "networks": {"convnet": {"kind": "convnet"}, "probe": {"kind": "convnet", "width": 32}},
        "surrogates": {"s": {"kind": "cross_entropy", "network": "convnet", "steps": 100, "batch_size": 200}},
        "models": {"pool": {"kind": "experts", "network": "convnet", "count": 1, "epochs": 2}},
        "debias": {"kde": {"kind": "kde", "surrogate": "s"}},
        "distillers": {"dm": {"kind": "dm", "network": "convnet", "iterations": 1000}, "whole": "whole"},
        "evaluations": {
            "e": {"network": "convnet", "networks": 2, "epochs": 100, "whole_steps": 50, "batch_size": 100}
        },
        "grid": [
            {
                "dataset": "d",
                "ratios": [0.9],
                "distillers": ["dm"],
                "debias": ["kde"],
                "ipc": [50],
                "seeds": [0],
                "evaluations": ["e"],
            }
        ],
    }
    return load(config | changes)


def one(plan, stage, **wildcards):
    given = {"dataset": "d", "surrogate": "s", "debias": "kde", "distiller": "dm", "ipc": "50", "evaluation": "e"}
    return job_costs.cost(plan, stage, SimpleNamespace(**(given | {"models": "pool"} | wildcards)))


def test_seconds_are_units_times_the_table_and_the_start(table):
    plan = small(precision="fast")
    start = job_costs.START_SECONDS
    assert one(plan, "synthesize_dataset").seconds == pytest.approx(start + 70_000 * 1e-4)
    # 100 steps of 200 images, and a look at all 60,000 in the end
    assert one(plan, "train_surrogate").seconds == pytest.approx(start + (20_000 + 60_000 / 3) * 0.006)
    features = 128 * 4 * 4  # of 3 blocks on 32 x 32
    assert one(plan, "estimate_weights").seconds == pytest.approx(start + 10 * 6000**2 * features / 128 * 1e-8)
    # two networks, 100 epochs of 500 images, and a look at 10,000 test images
    assert one(plan, "evaluate").seconds == pytest.approx(start + 2 * (50_000 + 10_000 / 3) * 0.002)
    # 50 steps of 100 images
    whole = one(plan, "evaluate", distiller="whole", ipc="all")
    assert whole.seconds == pytest.approx(start + 2 * (5_000 + 10_000 / 3) * 0.002)
    longer = small(precision="fast", distillers={"whole": {"kind": "whole", "steps": 200}, "dm": "random"})
    longer = one(longer, "evaluate", distiller="whole", ipc="all")
    assert longer.seconds == pytest.approx(start + 2 * (20_000 + 10_000 / 3) * 0.002)
    # a class has 256 real images, as in the table
    assert one(plan, "distill").seconds == pytest.approx(start + 1000 * (0.5 + job_costs.UPDATE))
    assert one(plan, "pretrain_models").seconds == pytest.approx(start + 2 * 60_000 * 0.003)


def test_precision_chooses_the_row(table):
    assert one(small(precision="exact"), "distill").seconds > 9 * one(small(precision="fast"), "distill").seconds


def test_what_nobody_measured_says_so_and_asks_for_more(table):
    plan = small(networks={"convnet": {"kind": "resnet18"}}, surrogates={}, debias={"kde": "uniform"}, models={})
    assert not one(plan, "distill").measured
    assert one(small(), "distill").measured
    lines = costs.estimate(plan)
    assert lines[0].endswith("by a guess")
    assert not one(small(), "pretrain_models").measured


@pytest.mark.parametrize("kind", ["dm", "dc", "dsa", "mtt", "idc"])
def test_more_work_takes_longer(kind):
    more = {"models": "pool"} if kind == "mtt" else {"network": "convnet"}

    def seconds(ipc, iterations, networks):
        changes = {
            "distillers": {"dm": {"kind": kind, "iterations": iterations, **more}, "whole": "whole"},
            "evaluations": {"e": {"network": "convnet", "networks": networks}},
        }
        plan = small(**changes)
        return one(plan, "distill", ipc=str(ipc)), one(plan, "evaluate", ipc=str(ipc))

    base, evaluated = seconds(10, 100, 2)
    assert seconds(10, 200, 2)[0].seconds > 1.9 * (base.seconds - job_costs.START_SECONDS)
    assert seconds(10, 100, 4)[1].seconds > 1.9 * (evaluated.seconds - job_costs.START_SECONDS)
    assert seconds(50, 100, 2)[1].seconds > evaluated.seconds
    beyond = [seconds(ipc, 100, 2)[0] for ipc in (50, 100, 200)]
    assert beyond[0].seconds < beyond[1].seconds < beyond[2].seconds
    assert beyond[0].memory_mb < beyond[1].memory_mb < beyond[2].memory_mb


def test_memory_of_densities_is_linear_in_the_images_of_a_class():
    def memory(chunk):
        debias = {"kde": {"kind": "kde", "surrogate": "s", "chunk_size": chunk}}
        return one(small(debias=debias), "estimate_weights").memory_mb

    assert memory(512) < memory(1024) < memory(2048)
    assert memory(2048) - memory(1024) == pytest.approx(2 * (memory(1024) - memory(512)))


def test_a_density_over_the_data_set_counts_every_pair():
    def work(per):
        return one(small(debias={"kde": {"kind": "kde", "surrogate": "s", "per": per}}), "estimate_weights")

    seconds = [work(per).seconds - job_costs.START_SECONDS for per in ("class", "data_set")]
    assert seconds[1] == pytest.approx(10 * seconds[0])


@pytest.mark.parametrize("path", STUDIES)
def test_every_job_of_every_study_asks_for_something(path):
    plan = study(path, scale="paper")
    for job in jobs(plan):
        if job.stage in job_costs.DEPENDS:
            memory = costs.memory_mb(plan, job.stage, job.wildcards)
            minutes = costs.minutes(plan, job.stage, job.wildcards)
            expected = job_costs.cost(plan, job.stage, job.wildcards)
            assert type(memory) is type(minutes) is int
            assert costs.LEAST_MB <= memory < 100_000, job
            assert costs.LEAST_MINUTES <= minutes < 10**6, job
            assert memory > 1.2 * expected.memory_mb, job
            assert 60 * minutes > 2 * expected.seconds, job


def test_check_data_asks_too():
    assert costs.memory_mb(small(), "check_data", SimpleNamespace(dataset="d")) >= costs.LEAST_MB
    assert costs.minutes(small(), "check_data", SimpleNamespace(dataset="d")) >= costs.LEAST_MINUTES


def test_a_gpu_is_asked_for_less_time_and_the_host_for_more_memory():
    fields = SimpleNamespace(dataset="d", distiller="dm", ipc="50")
    asked = {
        device: (costs.memory_mb(plan, "distill", fields), costs.minutes(plan, "distill", fields))
        for device, plan in ((device, small(device=device)) for device in ("cpu", "cuda", "auto"))
    }
    assert asked["cuda"][1] < asked["cpu"][1] / 3
    assert asked["auto"][1] == asked["cpu"][1]  # it may be one
    assert asked["cuda"][0] == asked["auto"][0] > asked["cpu"][0]


def test_requests_cover_what_real_jobs_took():
    """Published network on 60,000 images, scale fast: seconds of the processor and MB of finished jobs.

    The sets had 500 iterations of one update, on 128 real images per class.
    """
    plan = study()
    plan.config["distillers"]["dm"] |= {"iterations": 500, "real_batch": 128, "updates_per_network": 1}
    took = {
        ("distill", "10"): (525, 960),
        ("distill", "50"): (803, 1113),
        ("evaluate", "10"): (82, 971),
        ("evaluate", "50"): (309, 780),
        ("estimate_weights", "10"): (10, 760),
        ("train_surrogate", "10"): (33, 1197),
        ("synthesize_dataset", "10"): (7, 1165),
    }
    for (stage, ipc), (seconds, memory) in took.items():
        given = {"dataset": "cmnist", "surrogate": "supcon", "debias": "kde", "distiller": "dm", "evaluation": "dsa"}
        fields = SimpleNamespace(ipc=ipc, **given)
        expected = job_costs.cost(plan, stage, fields)
        assert seconds / 2 < expected.seconds < seconds * 2, stage
        assert memory * 0.8 < expected.memory_mb < memory * 1.6, stage
        assert costs.memory_mb(plan, stage, fields) > memory
        assert 60 * costs.minutes(plan, stage, fields) > 2 * seconds


def test_lines_of_a_dry_run(table):
    lines = costs.estimate(small(precision="fast"))
    assert lines[0] == "dm, 50 images per class: 1 sets of 1,000 iterations, about 9 minutes each, 1.9 GB"
    assert lines[-1].startswith("together about ")
    assert "of one core (9 minutes of it distillation" in lines[-1]


def test_shipped_table():
    rows = job_costs.rows()
    expected = {(kind, ipc) for kind in ("dm", "dc", "dsa", "mtt", "idc") for ipc in ("1", "10", "50")}
    assert {(row["kind"], row["ipc"]) for row in rows if row["stage"] == "distill"} == expected
    assert {row["stage"] for row in rows} > {"evaluate", "train_surrogate", "estimate_weights", "synthesize_dataset"}
    assert all(float(row["seconds_per_unit"]) > 0 and float(row["peak_memory_mb"]) > 100 for row in rows)


def test_done_and_measured_are_counted(tmp_path):
    plan = small(precision="fast")
    assert {name: (stage.jobs, stage.done) for name, stage in report(plan, tmp_path).stages.items()} == {
        "synthesize_dataset": (1, 0),
        "train_surrogate": (1, 0),
        "estimate_weights": (1, 0),
        "distill": (1, 0),
        "evaluate": (1, 0),
        "write_report": (1, 0),
    }
    job = next(job for job in jobs(plan) if job.stage == "distill")
    for path in [*job.outputs, job.benchmark]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"x" * 1_000_000)
    (tmp_path / job.benchmark).write_text("s\tmax_rss\tcpu_time\n400\t800\t300\n500.5\t900.5\t400.5\n")
    found = report(plan, tmp_path).stages["distill"]
    assert (found.jobs, found.done, found.timed, found.todo_seconds) == (1, 1, 1, 0)
    assert (found.measured, found.measured_mb, found.written_mb) == (400.5, 900.5, 4.0)
    assert found.expected == one(plan, "distill").seconds
    (tmp_path / job.outputs[-1]).unlink()
    assert report(plan, tmp_path).stages["distill"].done == 0


@pytest.mark.parametrize("text", ["", "s\tmax_rss\n", "s\tmax_rss\nabc\t1\n", "x\n1\n"])
def test_a_benchmark_that_was_cut_short_is_none(tmp_path, text):
    (tmp_path / "a.tsv").write_text(text)
    assert measured_costs.read(tmp_path / "a.tsv") is None


def test_a_benchmark_of_a_short_job_has_gaps(tmp_path):
    (tmp_path / "a.tsv").write_text("s\tmax_rss\tcpu_time\n0.4\t-\tNA\n")
    assert measured_costs.read(tmp_path / "a.tsv") == measured_costs.Taken(0.4, 0.4, 0.0)


def test_words_for_numbers():
    assert [duration(s) for s in (5, 600, 7200, 864_000)] == ["5 s", "10 minutes", "2 hours", "10 days"]
    assert [size(m) for m in (0, 12.4, 1500, 2.5e6)] == ["1 MB", "12 MB", "1.5 GB", "2.5 TB"]
    assert aligned([["a", "1"], ["bcd", "23"]]) == ["a     1", "bcd  23"]
