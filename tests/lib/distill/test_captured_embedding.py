"""Embeddings the way of a GPU, computed here on the CPU; what captures a graph is replaced by hand."""

import gc
import types
from contextlib import contextmanager

import pytest
import torch
from ddbias.base.seeding import stream
from ddbias.distill.precision.captured_embedding import CapturedEmbedding
from ddbias.distill.precision.frozen import embedding_for
from ddbias.learning import device, networks
from ddbias.learning.precision import compiling

CPU = torch.device("cpu")
SHAPE = (3, 8, 8)
TOLERANCE, GRADIENT = 0.02, 0.99  # as of the fast way on the CPU

pytestmark = pytest.mark.usefixtures("one_thread")


def network(**options):
    options = {"width": 8, "depth": 2, **options}
    return networks.build("convnet", channels=3, size=8, classes=3, seed=0, **options).requires_grad_(False)


def images(count=40):
    return torch.randn(count, *SHAPE, generator=stream(0, "images"))


def slope(embed, batch):
    leaf = batch.clone().requires_grad_(True)
    result = embed(leaf)
    direction = torch.randn(result.shape, generator=stream(0, "direction"))
    return torch.autograd.grad((result * direction).sum(), leaf)[0]


@pytest.mark.parametrize("norm", ["instance", "layer", "group", "none"])
@pytest.mark.parametrize("most", [4096, 16])
def test_float32_is_the_network(monkeypatch, norm, most):
    monkeypatch.setattr(compiling, "CAPTURED_IMAGES", most)
    model, batch = network(norm=norm), images()
    sizes = []

    def capture(function):
        def call(*given):
            sizes.append(len(given[0]))
            assert not any(tensor.requires_grad for tensor in given)
            return function(*given)

        return call

    embedding = CapturedEmbedding(model, dtype=torch.float32, capture=capture)
    torch.testing.assert_close(embedding(batch), model.embed(batch), rtol=1e-5, atol=1e-5)
    assert sizes == ([40] if most == 4096 else [14, 14, 14])  # of one shape
    torch.testing.assert_close(slope(embedding.with_gradient, batch), slope(model.embed, batch), rtol=1e-4, atol=1e-6)
    assert not embedding(batch.requires_grad_(True)).requires_grad
    networks.reset(model, stream(1, "init"))
    assert not torch.allclose(embedding(batch), model.embed(batch), atol=1e-2)
    embedding.refresh()
    torch.testing.assert_close(embedding(batch), model.embed(batch), rtol=1e-5, atol=1e-5)


def test_two_gradients_may_wait(monkeypatch):
    """Nothing of a first pass is overwritten by a second."""
    model = network()
    embedding = CapturedEmbedding(model, dtype=torch.float32, capture=lambda function: function)
    first, second = images().requires_grad_(True), (images() + 1).requires_grad_(True)
    loss = embedding.with_gradient(first).square().sum() + embedding.with_gradient(second).square().sum()
    wanted = model.embed(first).square().sum() + model.embed(second).square().sum()
    for a, b in zip(*(torch.autograd.grad(value, [first, second]) for value in (loss, wanted)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.fixture
def like_a_gpu(monkeypatch):
    monkeypatch.setattr(device, "machine_obstacle", lambda device: None)
    monkeypatch.setattr(compiling, "captures", lambda device: True)


def test_fast_on_a_gpu_is_captured_bfloat16(like_a_gpu, monkeypatch, log_lines):
    calls = []
    monkeypatch.setattr(
        compiling, "captured", lambda function: lambda *given: calls.append(function.__name__) or function(*given)
    )
    model, batch = network(), images()
    embedding = embedding_for(model, shape=SHAPE, device=CPU, precision="fast")
    # Warmed up, recorded and replayed before it is judged: an embedding alone, then one with a gradient.
    assert calls == ["_embedded", "_embedded", "_pulled_back"] * compiling.CAPTURED_CALLS
    embedding.refresh()
    result, exact = embedding(batch), model.embed(batch)
    assert result.dtype == torch.float32
    assert 0 < (result - exact).norm() < TOLERANCE * exact.norm()
    cosine = torch.cosine_similarity(
        slope(embedding.with_gradient, batch).flatten(), slope(model.embed, batch).flatten(), dim=0
    )
    assert cosine > GRADIENT
    assert log_lines == []


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_fails_at_any_of_the_first_calls_stays_float32(like_a_gpu, monkeypatch, log_lines, at):
    calls = []

    def captured(function):
        def call(*given):
            calls.append(function.__name__)
            if calls.count("_pulled_back") == at:
                raise RuntimeError("capture failed\nbecause")
            return function(*given)

        return call

    monkeypatch.setattr(compiling, "captured", captured)
    model = network()
    embedding, exact = (embedding_for(model, shape=SHAPE, device=CPU, precision=p) for p in ("fast", "exact"))
    embedding.refresh()
    assert torch.equal(embedding(images()), exact(images()))
    assert torch.equal(slope(embedding.with_gradient, images()), slope(exact.with_gradient, images()))
    reason = "it does not run (capture failed)"
    assert log_lines == [f"precision fast: {reason}, so the embedding is computed exactly"]


def chosen(fast, exact):
    """Return which of two ways is taken that give these tensors."""
    ways = {"fast": lambda: fast, "exact": exact}
    return compiling.fast_or_exact(
        "exact", lambda: "fast", lambda way: ways[way](), obstacle=None, instead="it stays float32"
    )


def test_what_is_not_finite_is_not_used(log_lines):
    fine, broken = torch.ones(3), torch.full((3,), torch.nan)
    for given in ([fine, broken], [broken, fine]):
        assert chosen(given, lambda: [fine, fine]) == "exact"
        reason = "its results for this network differ too much"
        assert log_lines.pop() == f"precision fast: {reason}, so it stays float32"
    assert chosen([fine, fine], lambda: [fine, fine]) == "fast"
    assert log_lines == []


def test_a_mistake_of_the_exact_way_is_not_hidden():
    def broken():
        raise RuntimeError("exact")

    with pytest.raises(RuntimeError, match="exact"):
        chosen([torch.ones(3)], broken)


def test_what_a_captured_function_returned_is_kept(monkeypatch):
    """A graph writes where it wrote before; a step begins with each call."""
    buffer, steps, chosen = torch.zeros(3), [], {}

    def compile(function, **options):
        chosen.update(options)
        return lambda *given: (buffer.copy_(function(*given)[0]),)

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: steps.append(1))
    double = compiling.captured(lambda values: (2 * values,))
    (first,) = double(torch.ones(3))
    (second,) = double(torch.full((3,), 5.0))
    assert (first.tolist(), second.tolist()) == ([2.0] * 3, [10.0] * 3)
    assert len(steps) == 2
    assert chosen["options"]["triton.cudagraphs"]
    assert not chosen["dynamic"]


# ---- the kernels of `exact` as graphs -------------------------------------------------------------------------------


@pytest.fixture
def recorded(monkeypatch):
    """Record by nothing: a replay does it again and writes where it wrote before. Returns how often was recorded."""
    times = []

    def record(function):
        times.append(1)
        results = function()

        def replay():
            for slot, value in zip(results, function(), strict=True):
                slot.copy_(value)
            return results

        return replay

    monkeypatch.setattr(compiling, "_recorded", record)
    return times


def test_a_graph_reads_what_it_is_given_and_its_results_are_kept(recorded):
    graph = compiling.graphed(lambda weights, values, more: (weights["a"] * values, values.sum() + (more or 0)))
    weight, results = torch.ones(2), []
    for value in (1.0, 2.0):
        weight.mul_(3)
        results.append(graph({"a": weight}, torch.full((2,), value), None))
    assert [[tensor.tolist() for tensor in pair] for pair in results] == [[[3.0] * 2, 2.0], [[18.0] * 2, 4.0]]
    assert len(recorded) == 1
    assert graph({"a": weight}, torch.ones(2), 5)[1].item() == 7  # what is no tensor is part of the graph
    assert graph({"a": weight}, torch.ones(3, 2), None)[0].shape == (3, 2)
    assert len(recorded) == 3


def test_of_too_many_shapes_the_last_are_computed_as_before(recorded, monkeypatch):
    monkeypatch.setattr(compiling, "SHAPES", 2)
    graph = compiling.graphed(lambda values: (2 * values,))
    for size in (1, 2, 3, 1):
        assert graph(torch.ones(size))[0].tolist() == [2.0] * size
    assert len(recorded) == 2


def no_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory.\nOf 80 GiB")


def test_a_later_shape_that_cannot_be_captured_is_computed_as_before(recorded, monkeypatch, log_lines):
    graph = compiling.graphed(lambda values: (2 * values,))
    assert graph(torch.ones(2))[0].tolist() == [2.0] * 2
    monkeypatch.setattr(compiling, "_recorded", no_memory)
    for _ in range(2):
        assert graph(torch.ones(3))[0].tolist() == [2.0] * 3
    assert graph(torch.full((2,), 3.0))[0].tolist() == [6.0] * 2
    assert len(recorded) == 1
    said = "CUDA graphs: not for another number of images (CUDA out of memory.), whose kernels are started one by one"
    assert [line for line in log_lines if "graphs" in line] == [said]
    with pytest.raises(torch.OutOfMemoryError):  # the first one, which is tried before it is relied on
        compiling.graphed(lambda values: (2 * values,))(torch.ones(2))


def test_so_is_a_later_shape_that_torch_cannot_compile_as_a_graph(monkeypatch):
    def compile_(function, **_):
        return lambda values: function(values) if len(values) == 2 else no_memory()

    monkeypatch.setattr(torch, "compile", compile_)
    graph = compiling.captured(lambda values: (2 * values,))
    with pytest.raises(torch.OutOfMemoryError):
        graph(torch.ones(3))
    for size in (2, 3, 3, 2):
        assert graph(torch.ones(size))[0].tolist() == [2.0] * size


class MadeUpCuda:
    """The streams, graphs and workspaces of a device, as far as recording touches them."""

    def __init__(self, monkeypatch, fails):
        self.stream, self.cleared, self.collects, self.fails = "default", [], [], fails
        cuda = torch.cuda
        monkeypatch.setattr(cuda, "Stream", lambda: types.SimpleNamespace(wait_stream=lambda other: None))
        monkeypatch.setattr(cuda, "current_stream", lambda: types.SimpleNamespace(wait_stream=lambda other: None))
        monkeypatch.setattr(cuda, "CUDAGraph", lambda: types.SimpleNamespace(replay=lambda: None))
        monkeypatch.setattr(cuda, "stream", self.within)
        monkeypatch.setattr(cuda, "graph", self.capture)
        clear = lambda: self.cleared.append(self.stream)  # noqa: E731
        monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", clear, raising=False)

    @contextmanager
    def within(self, stream):
        before, self.stream = self.stream, "another"
        try:
            yield
        finally:
            self.stream = before

    @contextmanager
    def capture(self, graph):
        self.stream = "that of captures"
        self.collects.append(gc.isenabled())
        yield
        if self.fails:
            raise RuntimeError("failed due to a previous error during capture")
        self.stream = "another"


@pytest.mark.parametrize("fails", [False, True])
def test_a_recording_shares_no_workspace_and_collects_no_graph(monkeypatch, fails):
    cuda = MadeUpCuda(monkeypatch, fails)
    if fails:
        with pytest.raises(RuntimeError, match="previous error"):
            compiling._recorded(lambda: (torch.ones(1),))
    else:
        assert compiling._recorded(lambda: (torch.ones(1),))()[0].item() == 1
    assert cuda.collects == [False]
    assert gc.isenabled()
    assert cuda.cleared == ["default", "default"]
    assert cuda.stream == "default"


@pytest.mark.parametrize("fails", [False, True])
def test_exact_on_a_gpu_is_captured_where_that_is_possible(request, monkeypatch, log_lines, fails):
    monkeypatch.setitem(device.KINDS, "cpu", device.Kind(captures=True))
    if not fails:  # else there is no GPU that could record
        request.getfixturevalue("recorded")
    model = network()
    embedding = embedding_for(model, shape=SHAPE, device=CPU, precision="exact")
    assert isinstance(embedding, CapturedEmbedding) != fails
    embedding.refresh()
    torch.testing.assert_close(embedding(images()), model.embed(images()), rtol=1e-5, atol=1e-5)
    told = [line.partition(" (")[0] for line in log_lines]
    assert told == (["CUDA graphs: it does not run"] if fails else [])
    batch_norm = network(norm="batch")
    assert embedding_for(batch_norm, shape=SHAPE, device=CPU, precision="exact").depends_on_batch
