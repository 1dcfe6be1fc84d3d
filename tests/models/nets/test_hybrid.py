"""The hybrid: its blocks against the vision transformer's, its size beside it, and its tokens."""

import pytest
import torch
from torch import nn

from models.build import build_net
from models.nets.hybrid import Block, HybridTransformer, Stem
from models.nets.vit import Block as PlainBlock


def count(name: str) -> int:
    with torch.device("meta"):
        net = build_net(name=name, num_classes=10, in_channels=3, image_size=32)
    return sum(parameter.numel() for parameter in net.parameters())


def test_it_is_of_the_plain_transformers_size() -> None:
    assert count("hybrid_tiny_32") == 278_570
    assert abs(count("hybrid_tiny_32") / count("vit_tiny_32") - 1) < 0.1


def test_a_block_equals_the_plain_transformers_with_its_weights() -> None:
    torch.manual_seed(0)
    plain, ours = PlainBlock(width=8, heads=2), Block(width=8, heads=2)
    ours.load_state_dict(dict(zip(ours.state_dict(), plain.state_dict().values(), strict=True)))
    for block in (plain, ours):
        block.norm1.eps = block.norm2.eps = 1e-5
    tokens = torch.randn(2, 5, 8)
    torch.testing.assert_close(ours(tokens), plain(tokens))


def test_tokens_are_of_four_pixels_and_see_beyond_them() -> None:
    torch.manual_seed(0)
    stem = Stem(in_channels=1, image_size=16, width=8).eval()
    images = torch.rand(1, 1, 16, 16)
    tokens = stem(images)
    assert tokens.shape == (1, 17, 8)
    torch.testing.assert_close(tokens[:, 0], stem.token[0] + stem.positions[0, :1])
    changed = images.clone()
    changed[0, 0, 3, 3] += 1  # in the first 4x4 pixels; those beside and below overlap it
    moved = (stem(changed) - tokens).abs().sum(dim=2)[0] > 0
    assert moved[1] and moved[2] and moved[5] and not moved[0] and not moved[12]


def test_norms_stand_in_the_stem() -> None:
    net = HybridTransformer(num_classes=10, in_channels=1, image_size=16)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in net.stem.modules()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 18}, "by 4; got image_size 18"),
        ({"heads": 5}, "heads 5 and width 64"),
        ({"depth": 0}, "got 64, 0, 4"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HybridTransformer(**{"num_classes": 10, "in_channels": 3, "image_size": 16, **arguments})
