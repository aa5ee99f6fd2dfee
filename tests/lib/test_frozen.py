"""Embeddings without gradient: the fast way against the exact one."""

import shutil

import pytest
import torch
from ddbias import device, networks
from ddbias.distill.frozen import FrozenEmbedding
from ddbias.seeding import stream

CPU = torch.device("cpu")
TOLERANCE = 0.02  # bfloat16 has 8 bits, 2^-9 a rounding; two blocks of convolution and normalisation


def network(**options):
    return networks.build("convnet", channels=3, size=8, classes=3, seed=0, width=8, depth=2, **options).requires_grad_(
        False
    )


def images(count=40):
    return torch.randn(count, 3, 8, 8, generator=stream(0, "images"))


@pytest.mark.skipif(device.obstacle(CPU) is not None, reason=f"no fast path: {device.obstacle(CPU)}")
def test_fast_is_close_to_exact():
    model, batch = network(), images()
    fast = FrozenEmbedding(model, device=CPU, precision="fast")

    def compare(pixels):
        result, exact = fast(pixels), model.embed(pixels)
        assert result.dtype == torch.float32
        assert result.shape == exact.shape
        assert not torch.equal(result, exact)
        assert (result - exact).norm() < TOLERANCE * exact.norm()
        return result

    padded = compare(batch)  # 40 is not a multiple of the micro-batch
    assert torch.equal(compare(batch[:32]), padded[:32])
    assert torch.equal(compare(batch[:33]), padded[:33])
    assert torch.equal(compare(batch[32:33]), padded[32:33])  # nor does it matter where in it an image is
    networks.reset(model, stream(1, "init"))
    assert (compare(batch) - padded).norm() > 0.1 * padded.norm()  # the new weights are used
    assert torch.equal(fast.with_gradient(batch), model.embed(batch))


@pytest.mark.parametrize(
    ("bf16", "compiler", "folder", "norm", "reason"),
    [
        (False, "c++", "torch", "instance", "this processor has no bfloat16 units"),
        (True, None, "torch", "instance", "there is no C++ compiler"),
        (
            True,
            "c++",
            "a b/torch",
            "instance",
            "torch lies in a folder with a space in its name, where it cannot compile",
        ),
        (True, "c++", "torch", "batch", "the network has batch norm"),
    ],
)
def test_where_fast_cannot_be_it_is_exact_and_says_why_once(
    monkeypatch, log_lines, bf16, compiler, folder, norm, reason
):
    monkeypatch.setattr(device, "has_fast_bf16", lambda: bf16)
    monkeypatch.setattr(shutil, "which", lambda name: compiler)
    monkeypatch.setattr(torch, "__file__", f"{folder}/__init__.py")
    model = network(norm=norm)
    embedding = FrozenEmbedding(model, device=CPU, precision="fast")
    for _ in range(2):
        assert torch.equal(embedding(images()), model.embed(images()))
    assert log_lines == [f"precision fast: {reason}, so the embedding stays float32"]


def test_exact_says_nothing(log_lines):
    model = network()
    result = FrozenEmbedding(model, device=CPU, precision="exact")(images(5))
    assert torch.equal(result, model.embed(images(5)))
    assert log_lines == []


def test_a_gradient_reaches_the_images():
    model, batch = network(), images(4).requires_grad_(True)
    embedding = FrozenEmbedding(model, device=CPU, precision="exact")
    assert not embedding(batch).requires_grad
    (gradient,) = torch.autograd.grad(embedding.with_gradient(batch).square().sum(), batch)
    assert gradient.abs().sum() > 0
