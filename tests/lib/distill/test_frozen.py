"""Embeddings by a frozen network: the fast way against the exact one, workers against one call."""

import shutil

import pytest
import torch
from ddbias.base.seeding import stream
from ddbias.distill.precision.frozen import embedding_for
from ddbias.learning import device, networks
from ddbias.learning.precision import compiling
from ddbias.learning.precision.workers import spread
from torch import nn

CPU = torch.device("cpu")
SHAPE = (3, 8, 8)
# bfloat16 has 8 bits, 2^-9 a rounding; two blocks of convolution and normalisation. Of float32 only the order differs.
TOLERANCE = {torch.bfloat16: 0.02, torch.float32: 1e-5}
# Least cosine; where a map is nearly zero before the activation, its gradient may come or go.
GRADIENT = {torch.bfloat16: 0.99, torch.float32: 0.9999}
needs_fast = pytest.mark.skipif(
    device.machine_obstacle(CPU) is not None, reason=f"no fast path: {device.machine_obstacle(CPU)}"
)

pytestmark = pytest.mark.usefixtures("one_thread")


def network(kind="convnet", size=8, **options):
    options = {"width": 8, "depth": 2, **options} if kind == "convnet" else options
    return networks.build(kind, channels=3, size=size, classes=3, seed=0, **options).requires_grad_(False)


def frozen(model, precision, shape=SHAPE):
    return embedding_for(model, shape=shape, device=CPU, precision=precision)


def images(count=40):
    return torch.randn(count, *SHAPE, generator=stream(0, "images"))


def slope(embed, batch):
    """Gradient of a weighted sum of embeddings with respect to the images."""
    leaf = batch.clone().requires_grad_(True)
    result = embed(leaf)
    direction = torch.randn(result.shape, generator=stream(0, "direction"))
    return torch.autograd.grad((result * direction).sum(), leaf)[0]


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(), b.flatten(), dim=0)


@needs_fast
@pytest.mark.slow
@pytest.mark.parametrize("dtype", [pytest.param(torch.bfloat16, marks=pytest.mark.thorough), torch.float32])
def test_fast_is_close_to_exact(multiply_in, dtype):
    torch.compiler.reset()
    multiply_in(dtype)
    model, batch = network(), images()
    fast = frozen(model, "fast")

    def compare(pixels):
        result, exact = fast(pixels), model.embed(pixels)
        assert result.dtype == torch.float32
        assert result.shape == exact.shape
        assert not torch.equal(result, exact)
        assert not result.requires_grad
        assert (result - exact).norm() < TOLERANCE[dtype] * exact.norm()
        given, wanted = slope(fast.with_gradient, pixels), slope(model.embed, pixels)
        assert given.dtype == torch.float32
        assert cosine(given, wanted) > GRADIENT[dtype]
        assert given.norm().item() == pytest.approx(wanted.norm().item(), rel=TOLERANCE[dtype])
        return result

    padded = compare(batch)  # 40 is not a multiple of the micro-batch
    assert torch.equal(compare(batch[:32]), padded[:32])
    assert torch.equal(compare(batch[:33]), padded[:33])
    assert torch.equal(compare(batch[32:33]), padded[32:33])  # nor does it matter where in it an image is
    torch.testing.assert_close(fast.with_gradient(batch.requires_grad_(True)), padded, rtol=0.01, atol=0.01)
    torch.set_num_threads(2)  # two workers
    assert torch.equal(fast(batch), padded)
    networks.reset(model, stream(1, "init"))
    assert torch.equal(fast(batch), padded)
    fast.refresh()
    assert (compare(batch.detach()) - padded).norm() > 0.1 * padded.norm()  # the new weights are used


@pytest.mark.parametrize(
    ("compiler", "folder", "norm", "reason"),
    [
        (None, "torch", "instance", "there is no C++ compiler"),
        ("c++", "a b/torch", "instance", "torch lies in a folder with a space in its name, where it cannot compile"),
        ("c++", "torch", "batch", "the network has batch norm"),
    ],
)
def test_where_fast_cannot_be_it_is_exact_and_says_why_once(monkeypatch, log_lines, compiler, folder, norm, reason):
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    monkeypatch.setattr(torch, "__file__", f"{folder}/__init__.py")
    model = network(norm=norm)
    embedding, exact = frozen(model, "fast"), frozen(model, "exact")
    for _ in range(2):
        assert torch.equal(embedding(images()), exact(images()))
    assert log_lines == [f"precision fast: {reason}, so the embedding is computed exactly"]


def fails(function):
    from torch._dynamo.exc import TorchDynamoException

    def call(images):
        raise TorchDynamoException("no")

    return call


@pytest.mark.parametrize(
    ("compiled", "reason"),
    [
        (fails, "torch cannot compile this network"),
        (lambda function: lambda images: -function(images), "its results for this network differ too much"),
    ],
)
def test_a_probe_decides_whether_fast_is_good_enough(monkeypatch, log_lines, compiled, reason):
    monkeypatch.setattr(device, "machine_obstacle", lambda device: None)
    monkeypatch.setattr(compiling, "compiled", compiled)
    model = network()
    embedding, exact = frozen(model, "fast"), frozen(model, "exact")
    embedding.refresh()
    assert torch.equal(embedding(images()), exact(images()))
    assert torch.equal(slope(embedding.with_gradient, images()), slope(exact.with_gradient, images()))
    assert log_lines == [f"precision fast: {reason}, so the embedding is computed exactly"]


@pytest.mark.slow
def test_vgg11_on_small_images_is_refused_in_bfloat16(monkeypatch, multiply_in, log_lines):
    """Its last maps have four pixels and one, whose normalisation magnifies the rounding."""
    monkeypatch.setattr(device, "machine_obstacle", lambda device: None)
    monkeypatch.setattr(compiling, "compiled", lambda function: function)  # it takes minutes
    multiply_in(torch.bfloat16)
    frozen(network("vgg11", size=32), "fast", (3, 32, 32))
    assert log_lines == [
        "precision fast: its results for this network differ too much, so the embedding is computed exactly"
    ]


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("threads", [1, 2])
def test_exact_is_one_call(log_lines, threads, norm):
    torch.set_num_threads(threads)
    model, batch = network(norm=norm), images(70)
    embedding = frozen(model, "exact")
    expected = model.embed(batch)
    torch.testing.assert_close(embedding(batch), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(embedding.with_gradient(batch), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(slope(embedding.with_gradient, batch), slope(model.embed, batch), rtol=1e-4, atol=1e-6)
    assert not embedding(batch.requires_grad_(True)).requires_grad
    assert log_lines == []


def test_the_number_of_threads_changes_no_bit():
    embedding, results = frozen(network(), "exact"), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append((embedding(images(70)), slope(embedding.with_gradient, images(70))))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


@pytest.mark.parametrize("side", [6, 7])
def test_average_pooling_by_reshaping(side):
    batch = torch.randn(2, 3, side, 9, generator=stream(0, "pool"))
    torch.testing.assert_close(compiling.ReshapedPooling()(batch), nn.AvgPool2d(2)(batch))


def test_workers_have_one_thread_each_and_keep_the_order():
    torch.set_num_threads(2)
    assert spread(lambda item: (item, torch.get_num_threads()), range(5), CPU) == [(i, 1) for i in range(5)]
    assert torch.get_num_threads() == 2
    with pytest.raises(ZeroDivisionError):
        spread(lambda item: 1 // item, [1, 0], CPU)


def test_batch_norm_that_keeps_its_statistics_lets_a_batch_be_cut():
    model, pixels = network(norm="batch"), images(100)
    whole = frozen(model.train(), "exact")
    assert whole.depends_on_batch
    torch.testing.assert_close(whole(pixels), model.embed(pixels), rtol=0, atol=0)
    cut = frozen(model.eval(), "exact")
    assert not cut.depends_on_batch
    torch.testing.assert_close(cut(pixels), model.embed(pixels))
    torch.testing.assert_close(slope(cut.with_gradient, pixels), slope(model.embed, pixels))
    norm = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    norm.running_mean = norm.running_var = None  # as with track_running_stats=False
    assert frozen(model, "exact").depends_on_batch
