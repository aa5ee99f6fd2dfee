import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets import bias
from ddbias.datasets.bias.corruption import corrupt_by_attribute
from ddbias.datasets.corruptions import FAMILIES
from ddbias.datasets.corruptions.frost_textures import read_textures
from PIL import Image

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), np.uint8)
ATTRIBUTES, INDEX = np.arange(40) % 10, np.arange(40)


def made(context=None, **options):
    return bias.build({"kind": "corruption", "severity": 2, **options}).apply(
        IMAGES, ATTRIBUTES, INDEX, context or bias.Context("train", 0.95, seed=3)
    )


@pytest.mark.parametrize("family", ["type0", "type1"])
def test_attributes_are_the_corruptions_of_a_family(family):
    found = made(family=family)
    expected = corrupt_by_attribute(IMAGES, ATTRIBUTES, family=family, severity=2, seed=3, split="train", index=INDEX)
    np.testing.assert_array_equal(found, expected)
    names = bias.build({"kind": "corruption", "severity": 2, "family": family}).names
    assert [name.removesuffix("-substitute") for name in names] == list(FAMILIES[family])


def test_pictures_of_frost_are_used_when_there_are_any(tmp_path):
    folder = tmp_path / "mirror" / "frost"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for name in ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"):
        Image.fromarray(rng.integers(0, 256, (200, 300, 3), np.uint8)).save(folder / name)
    context = bias.Context("train", 0.95, seed=3, data={"mirrors": [str(tmp_path / "mirror")]})
    own, substitute = made(context, frost="frost"), made()
    frosted = ATTRIBUTES == 1
    np.testing.assert_array_equal(own[~frosted], substitute[~frosted])
    assert (own[frosted] != substitute[frosted]).any(axis=(1, 2, 3)).all()
    textures = read_textures(folder)
    expected = corrupt_by_attribute(
        IMAGES, ATTRIBUTES, family="type0", severity=2, seed=3, split="train", index=INDEX, textures=textures
    )
    np.testing.assert_array_equal(own, expected)
    assert bias.build({"kind": "corruption", "severity": 2, "frost": "frost"}).names[1] == "frost"
    assert bias.build({"kind": "corruption", "severity": 2}).names[1] == "frost-substitute"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"severity": 5}, "corruption severity is 5; it must be one of 1, 2, 3, 4"),
        ({"severity": True}, "corruption severity is True"),
        ({"severity": 1, "family": "type2"}, "unknown family of corruptions 'type2'"),
    ],
)
def test_wrong_settings(options, message):
    with pytest.raises(DdbiasError, match=message):
        bias.build({"kind": "corruption", **options})


def test_a_missing_folder_of_frost_is_one_line():
    with pytest.raises(DdbiasError, match="no folder nowhere"):
        made(frost="nowhere")
