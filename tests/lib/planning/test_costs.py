"""What jobs are expected to take: more for more work, enough for what real jobs took, counted where it is done."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from ddbias.base import plugins
from ddbias.base.plugins.formula import value
from ddbias.distill.gradient_matching import loops
from ddbias.distill.mtt import published
from ddbias.learning import networks
from ddbias.planning.costs.networks import PASS, PUBLISHED, counts, features, network_cost
from ddbias.planning.costs.report import duration, lines, report, size, summary, taken
from ddbias.planning.costs.work import DEPENDS, cost, request
from ddbias.planning.jobs import jobs
from ddbias.planning.load import load
from ddbias.planning.sizes import DataSize

ROOT = Path(__file__).resolve().parents[3]
STUDIES = sorted(str(path.relative_to(ROOT)) for path in [ROOT / "config.yaml", *ROOT.glob("studies/*.yaml")])
RGB = DataSize(1000, 100, 10, 3, 32, True)
LEARNERS = ("dm", "dc", "dsa", "mtt", "idc")


def study(name="studies/cui2024_main.yaml", **changes):
    return load(yaml.safe_load((ROOT / name).read_text()) | changes)


def small(dm=None, evaluation=None, **changes):
    """A study of one job of every stage, on MNIST."""
    config = {
        "study": "small",
        "scale": "paper",
        "device": "cpu",
        "datasets": {"d": {"source": "mnist", "bias": {"kind": "foreground"}}},
        "networks": {"convnet": {"kind": "convnet"}, "resnet": {"kind": "resnet18"}},
        "surrogates": {"s": {"kind": "supcon", "network": "convnet", "steps": 100, "batch_size": 100}},
        "models": {"pool": {"kind": "experts", "network": "convnet", "epochs": 2}},
        "debias": {"kde": {"kind": "kde", "surrogate": "s"}},
        "distillers": {"dm": {"kind": "dm", "network": "convnet", "iterations": 1000, **(dm or {})}},
        "evaluations": {"e": {"network": "convnet", "networks": 2, "epochs": 100, **(evaluation or {})}},
        "grid": [
            {"dataset": "d", "ratios": [0.9], "distillers": ["dm"], "debias": ["kde"], "ipc": [50]}
            | {"seeds": [0], "evaluations": ["e"]}
        ],
    }
    return load(config | changes)


def one(plan, stage, **wildcards):
    given = {"dataset": "d", "surrogate": "s", "debias": "kde", "distiller": "dm", "ipc": "50", "evaluation": "e"}
    return cost(plan, stage, SimpleNamespace(**(given | {"models": "pool"} | wildcards)))


@pytest.mark.parametrize("path", STUDIES)
def test_every_job_of_every_study_asks_for_something(path):
    plan = study(path, scale="paper")
    for job in jobs(plan):
        expected = cost(plan, job.stage, job.wildcards)
        assert expected.seconds > 0
        if job.stage in DEPENDS:
            memory, minutes = request(plan, job.stage, job.wildcards)
            assert type(memory) is type(minutes) is int
            assert 1.2 * expected.memory_mb < memory < 100_000, job
            assert 2 * expected.seconds < 60 * minutes < 10**8, job
    assert summary(plan).startswith("together about ")


@pytest.mark.parametrize("kind", LEARNERS)
def test_more_work_takes_longer(kind):
    own = {"kind": kind, **({"models": "pool"} if kind == "mtt" else {"network": "convnet"})}

    def seconds(ipc=10, iterations=100, precision="exact"):
        plan = small(distillers={"dm": own | {"iterations": iterations}}, precision=precision)
        found = one(plan, "distill", ipc=str(ipc))
        assert found.measured
        return found.seconds

    assert seconds(1) < seconds(10) < seconds(50)
    assert seconds(iterations=200) > 1.8 * seconds()
    if kind in ("dm", "dc", "dsa"):
        assert seconds(precision="fast") < seconds()


def test_iterations_that_end_by_themselves_count_two_thirds():
    whole, early = (
        one(small(dm={"iterations": n}), "distill") for n in (1000, {"until": "converged", "at_most": 1000})
    )
    assert early.seconds == pytest.approx(2 / 3 * whole.seconds, rel=0.05)


def test_every_stage_takes_more_for_more_work():
    plan = small()
    guides = {"pool": {"kind": "classifiers", "network": "convnet", "epochs": 2}}
    guided = small(dm={"guidance": {"kind": "clom", "models": ["pool"], "loss": "ce"}}, models=guides)
    assert one(guided, "distill").seconds > one(plan, "distill").seconds
    cosine = {"guidance": {"kind": "clom", "models": ["pool"], "loss": "cos", "real_batch": 8196}}
    embeds = small(dm=cosine, models=guides)
    assert one(embeds, "distill").seconds > 2 * one(guided, "distill").seconds  # 8,196 real images a step
    assert one(embeds, "distill").memory_mb > one(guided, "distill").memory_mb
    twice = {"updates_per_network": 2}
    added = [
        one(small(dm=cosine | more, models=guides), "distill").seconds - one(small(dm=more), "distill").seconds
        for more in ({}, twice)
    ]
    assert added[1] == pytest.approx(2 * added[0])  # the guide is asked at every update
    assert one(small(evaluation={"epochs": 200}), "evaluate").seconds > 1.5 * one(plan, "evaluate").seconds
    debiased = small(evaluation={"debiasing": "lff"})
    assert one(debiased, "evaluate").seconds > 2 * one(plan, "evaluate").seconds
    per_set = small(debias={"kde": {"kind": "kde", "surrogate": "s", "per": "data_set"}})
    assert one(per_set, "estimate_weights").seconds > 5 * one(plan, "estimate_weights").seconds
    views = small(surrogates={"s": {"kind": "cross_entropy", "network": "convnet", "steps": 100, "batch_size": 100}})
    assert one(views, "train_surrogate").seconds < one(plan, "train_surrogate").seconds


def test_what_nobody_measured_says_so_and_asks_for_more(tmp_path):
    plan = small(dm={"network": "resnet"})
    assert not one(plan, "distill").measured
    assert "1 jobs guessed" in summary(plan)
    pool = {"pool": {"kind": "experts", "network": "resnet", "epochs": 2}}
    assert not one(small(models=pool), "pretrain_models").measured
    assert one(small(), "pretrain_models").measured
    mine = (ROOT / "examples/plugins/pixel_moments.py").read_text()
    (tmp_path / "mine.py").write_text(mine)
    own = {"dm": {"kind": "pixel_moments", "iterations": 1000}}
    plan = small(distillers=own, plugins=[str(tmp_path / "mine.py")])
    assert not one(plan, "distill").measured
    told = '"description": "Synthetic images whose'
    (tmp_path / "mine.py").write_text(mine.replace(told, f'"seconds": "0.01 * real_batch",\n{told}'))
    plan = small(distillers=own, plugins=[str(tmp_path / "mine.py")])
    assert one(plan, "distill").measured
    assert one(plan, "distill").seconds == pytest.approx(2560, rel=0.05)


def test_a_job_asks_for_more_with_every_attempt_and_never_for_more_than_a_day():
    rules = {"request": lambda *_: (900, 500), "study": SimpleNamespace(config={})}
    exec((ROOT / "workflow/rules/resources.smk").read_text(), rules)
    memory, minutes = rules["memory_mb"]("distill"), rules["minutes"]("distill")
    assert [memory(None, attempt) for attempt in (1, 2, 3)] == [900, 1800, 2700]
    assert [minutes(None, attempt) for attempt in (1, 2, 3)] == [500, 1000, 24 * 60]
    for device, count in (("cpu", 0), ("cuda", 1), ("auto", 1)):
        rules["study"].config["device"] = device
        assert rules["gpu"](None) == count


def test_a_gpu_is_asked_for_less_time_and_the_host_for_more_memory():
    fields = SimpleNamespace(dataset="d", distiller="dm", ipc="50")
    plans = {device: small(device=device) for device in ("cpu", "cuda", "auto")}
    asked = {device: request(plan, "distill", fields) for device, plan in plans.items()}
    memory, minutes = ({device: both[i] for device, both in asked.items()} for i in (0, 1))
    assert minutes["cuda"] < minutes["cpu"] / 3
    assert minutes["auto"] == minutes["cpu"]  # it may be one
    assert memory["cuda"] == memory["auto"] > memory["cpu"]


# Seconds of the processor and MB of finished jobs, the largest of several; `DIGITS` are of a processor without AMX.
DIGITS = "studies/amplification.yaml", "fast", "distill"
TOOK = [
    (*DIGITS, 26, 505, {"dataset": "digits_fg", "distiller": "dm_digits", "debias": "uniform"}),
    (*DIGITS, 54, 772, {"dataset": "digits_fg", "distiller": "ncfm_digits", "debias": "uniform"}),
    (*DIGITS, 29, 510, {"dataset": "digits_fg", "distiller": "lgm_digits", "debias": "uniform"}),
    (*DIGITS, 365, 577, {"dataset": "digits_fg", "distiller": "dc_digits", "debias": "uniform"}),
    (*DIGITS, 279, 647, {"dataset": "digits_fg", "distiller": "mtt_digits", "debias": "uniform"}),
    ("studies/cui2024_main.yaml", "fast", "distill", 226, 1000, {"dataset": "cmnist"}),
    ("studies/cui2024_main.yaml", "fast", "evaluate", 85, 652, {"dataset": "cmnist", "evaluation": "dsa"}),
    ("studies/cui2024_main.yaml", "fast", "estimate_weights", 12, 628, {"dataset": "cmnist"}),
    ("studies/cui2024_main.yaml", "fast", "train_surrogate", 43, 1176, {"dataset": "cmnist", "surrogate": "supcon"}),
    ("studies/cui2024_main.yaml", "fast", "synthesize_dataset", 15, 1047, {"dataset": "cmnist"}),
    ("config.yaml", "quick", "distill", 18, 415, {"dataset": "digits_fg"}),
    ("config.yaml", "quick", "evaluate", 6, 385, {"dataset": "digits_fg", "evaluation": "convnet"}),
]


@pytest.mark.parametrize(("path", "scale", "stage", "seconds", "memory", "fields"), TOOK)
def test_requests_cover_what_real_jobs_took(path, scale, stage, seconds, memory, fields):
    plan = study(path, scale=scale)
    fields = SimpleNamespace(**({"distiller": "dm", "debias": "kde", "ipc": "10"} | fields))
    assert seconds / 1.5 < cost(plan, stage, fields).seconds < seconds * 1.5
    asked = request(plan, stage, fields)
    assert asked[0] > memory
    assert 60 * asked[1] > 2 * seconds


def test_done_and_taken_are_counted(tmp_path):
    plan = small()
    names = ["synthesize_dataset", "train_surrogate", "estimate_weights", "distill", "evaluate", "write_report"]
    counted = {name: (stage.jobs, stage.done) for name, stage in report(plan, tmp_path).items()}
    assert counted == dict.fromkeys(names, (1, 0)) | {"together": (6, 0)}
    job = next(job for job in jobs(plan) if job.stage == "distill")
    for path in (job.output, job.benchmark):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / job.benchmark).write_text("s\tmax_rss\tcpu_time\n400\t800\t300\n495.5\t900.5\t400\n")
    stages = report(plan, tmp_path, speed=2.0)
    found = stages["distill"]
    assert (found.jobs, found.done, found.timed, found.to_do) == (1, 1, 1, 0)
    assert (found.taken, found.taken_mb) == (pytest.approx(400), 900.5)
    assert found.expected == 2 * one(plan, "distill").seconds
    said = lines(plan, stages, 3, "3 cores, 1 a job")
    assert said[0] == "small at scale paper: 6 jobs, 1 done"
    assert len({len(line) for line in said[2:3]}) == 1
    (tmp_path / job.output).unlink()
    assert report(plan, tmp_path)["distill"].done == 0


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ("0.4\t-\tNA", 0.4),  # nobody looked
        ("10\t5\t7.8", 8),  # the last look was a quarter of a second before the end
        ("60.5\t5\t40", 40 * 60.5 / 45.5),  # 15 seconds before
    ],
)
def test_what_no_look_saw_is_added(tmp_path, row, seconds):
    (tmp_path / "a.tsv").write_text(f"s\tmax_rss\tcpu_time\n{row}\n")
    assert taken(tmp_path / "a.tsv")[0] == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s\tmax_rss\tcpu_time\n", "s\tmax_rss\tcpu_time\nabc\t1\t1\n", "x\n1\n"])
def test_a_benchmark_that_was_cut_short_is_none(tmp_path, text):
    (tmp_path / "a.tsv").write_text(text)
    assert taken(tmp_path / "a.tsv") is None


def test_words_for_numbers():
    assert [duration(s) for s in (5, 600, 7200, 864_000)] == ["5 s", "10 minutes", "2 hours", "10 days"]
    assert [size(m) for m in (12.4, 1500)] == ["12 MB", "1.5 GB"]


# ---- networks -----------------------------------------------------------------------------------------------------


def counted(network, side):
    options = {key: value for key, value in network.items() if key != "kind"}
    model = networks.build(network["kind"], channels=3, size=side, classes=10, seed=0, **options).eval()
    found = [0, 0]

    def count(module, _, output):
        found[0] += output[0].numel() * module.weight[0].numel()
        found[1] += output[0].numel()

    layers = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(count)
    model(torch.zeros(1, 3, side, side))
    return (found[0] / 1e6, found[1] / 1e3), layers[-1].in_features


CONVNETS = [
    ({"kind": "convnet", "width": 128, "depth": 3, "pooling": "avg"}, 32),
    ({"kind": "convnet", "width": 16, "depth": 4, "pooling": "avg"}, 64),
    ({"kind": "convnet_bn", "width": 8, "depth": 2, "pooling": "none"}, 20),
]
OTHERS = [kind for kind in plugins.kinds("network") if not kind.startswith("convnet")]


@pytest.mark.parametrize(("network", "side"), [*CONVNETS, *(({"kind": kind}, 32) for kind in OTHERS)])
def test_counts_of_networks_are_those_of_the_real_ones(network, side):
    expected, last = counted(network, side)
    assert counts(network, 3, side) == pytest.approx(expected, rel=0.05, abs=0.05)
    if "depth" in network:
        assert features(network, side) == last


def test_the_published_network_is_the_unit():
    unit, wide = ({"kind": "convnet", **PUBLISHED, "width": width} for width in (128, 256))
    assert network_cost(unit, RGB).seconds == pytest.approx(PASS, rel=0.01)
    assert network_cost(unit, RGB).known
    assert not network_cost({"kind": "resnet18"}, RGB).known
    assert network_cost(wide, RGB).seconds > 2 * PASS


@pytest.mark.parametrize("ipc", [1, 2, 9, 10, 25, 50, 100])
def test_declared_loops_are_those_of_the_methods(ipc):
    """A null option is left to the images per class: the formulas say the same as the code."""

    def seconds(kind, **options):
        given = {"network": 1, "classes": 10, "ipc": ipc, "real_batch": 256, "syn_batch": None, **options}
        return value(plugins.find("distiller", kind).facts["seconds"], given)

    for kind in ("dc", "dsa"):
        outer, inner = loops(ipc)
        told = seconds(kind, outer_loop=outer, inner_loop=inner)
        assert seconds(kind, outer_loop=None, inner_loop=None) == told
    assert seconds("mtt", syn_steps=None) == seconds("mtt", syn_steps=published(ipc).syn_steps)
