"""CutMix: pixel by pixel, by its labels, and by the distribution of its boxes."""

import numpy as np
import pytest
import torch
from ddbias.base.seeding import stream
from ddbias.learning.augment import cutmix
from ddbias.learning.augment.cutmix import CutMix, mix
from torch import nn
from torch.nn.functional import cross_entropy


def batch(count=6, height=8, width=10):
    generator = torch.Generator().manual_seed(0)
    return torch.randn((count, 3, height, width), generator=generator), torch.arange(count) % 3


class Sees(nn.Module):
    """A network that keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn((3, 3), generator=torch.Generator().manual_seed(1)))
        self.seen = None

    def forward(self, images):
        self.seen = images
        return images.mean((2, 3)) @ self.weight


def test_mixing_pixel_by_pixel():
    images, _ = batch()
    partners = torch.tensor([2, 0, 1, 5, 4, 3])
    before = images.clone()
    mixed, share = mix(images, partners, (1, 5, 6, 10))
    assert torch.equal(images, before)
    for n in range(6):
        for row in range(8):
            for column in range(10):
                origin = partners[n] if 1 <= row < 5 and 6 <= column < 10 else n
                assert torch.equal(mixed[n, :, row, column], images[origin, :, row, column])
    assert share == pytest.approx(1 - 16 / 80)


def test_an_empty_box_changes_nothing():
    images, _ = batch()
    mixed, share = mix(images, torch.arange(6).flip(0), (3, 3, 0, 10))
    assert torch.equal(mixed, images)
    assert share == 1


def test_the_loss_takes_both_labels_by_their_area():
    images, labels = batch()
    network, kinds = Sees(), set()
    for number in range(20):
        loss = CutMix(probability=1).loss(network, images, labels, stream(number, "test"))
        foreign = (network.seen != images).any(1)  # (B, H, W): in the box, but for images mixed with themselves
        box = foreign.any(0)
        share = 1 - box.float().mean().item()
        partners = []
        for n in range(6):
            fits = [m for m in range(6) if torch.equal(network.seen[n][:, box], images[m][:, box])]
            partners.append(fits[0] if len(fits) == 1 else n)
        assert len(set(partners)) == 6  # a permutation
        logits = network(network.seen)
        expected = [
            share * cross_entropy(logits[n], labels[n]) + (1 - share) * cross_entropy(logits[n], labels[partners[n]])
            for n in range(6)
        ]
        torch.testing.assert_close(loss, torch.stack(expected).mean(), rtol=1e-5, atol=1e-6)
        kinds.add(round(share, 3))
    assert len(kinds) > 5


def test_without_mixing_it_is_cross_entropy():
    images, labels = batch()
    network = Sees()
    generator = stream(0, "test")
    state = generator.get_state()
    loss = CutMix(probability=0).loss(network, images, labels, generator)
    assert torch.equal(loss, cross_entropy(network(images), labels))
    assert torch.equal(generator.get_state(), state)


def test_the_probability_is_that_of_a_batch():
    images, labels = batch()
    network, generator, mixed = Sees(), stream(0, "test"), 0
    plain = cross_entropy(network(images), labels)
    for _ in range(400):
        # A box without pixels, at share 1, has a chance of a few percent.
        mixed += not torch.equal(CutMix(0.5).loss(network, images, labels, generator), plain)
    assert 0.38 < mixed / 400 < 0.56


def test_equal_generators_mix_alike():
    images, labels = batch()
    state = torch.get_rng_state()
    losses = [CutMix(1.0).loss(Sees(), images, labels, stream(s, "test")).item() for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_boxes_have_the_drawn_share_before_they_are_clipped(share):
    height, width, generator = 32, 20, stream(0, "test")
    boxes = np.array([cutmix._box(height, width, share, generator) for _ in range(2000)])
    top, bottom, left, right = boxes.T
    assert ((top >= 0) & (top <= bottom) & (bottom <= height) & (left >= 0) & (left <= right) & (right <= width)).all()
    tall, wide = (int(side * np.sqrt(1 - share)) // 2 * 2 for side in (height, width))
    assert (bottom - top).max() == tall
    assert (right - left).max() == wide
    inner = (top > 0) & (bottom < height)
    assert (bottom - top)[inner].tolist() == [tall] * inner.sum()
    centres = np.where(top > 0, top + tall // 2, bottom - tall // 2)[(top > 0) | (bottom < height)]
    if share == 0.9:
        assert set(centres) == set(range(height))  # every row can be the centre


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_share_is_beta_distributed(beta):
    from scipy import stats

    generator = stream(0, "test")
    drawn = [cutmix._beta(beta, generator) for _ in range(500)]
    assert stats.kstest(drawn, "beta", args=(beta, beta)).pvalue > 0.01
