"""Vision transformer: counts by the formula, timm's nets with their weights, and two identities of attention."""

from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from models.build import build_net
from models.nets.vit import Attention, Embedding, VisionTransformer


@pytest.mark.parametrize(
    ("classes", "channels", "size", "arguments", "count"),
    [
        (10, 1, 28, {}, 305_034),
        (10, 3, 32, {"width": 192, "depth": 9, "heads": 3}, 4_028_170),
        (10, 3, 32, {"width": 192, "depth": 12, "heads": 3}, 5_362_762),
        (1000, 3, 224, {"width": 192, "depth": 12, "heads": 3, "patch": 16}, 5_717_416),
        (1000, 3, 224, {"width": 768, "depth": 12, "heads": 12, "patch": 16}, 86_567_656),
    ],
)
def test_counts_follow_the_formula(classes: int, channels: int, size: int, arguments: dict, count: int) -> None:
    with torch.device("meta"):
        net = build_net(
            name="vit_tiny_32", num_classes=classes, in_channels=channels, image_size=size, arguments=arguments
        )
    p, d, layers = (arguments.get(key, usual) for key, usual in (("patch", 4), ("width", 64), ("depth", 6)))
    tokens = (size // p) ** 2 + 1
    formula = p**2 * channels * d + d + d + tokens * d + layers * (12 * d**2 + 13 * d) + 2 * d + d * classes + classes
    assert sum(parameter.numel() for parameter in net.parameters()) == formula == count


def test_logits_equal_timms_with_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = timm.models.VisionTransformer(
        img_size=16, patch_size=4, embed_dim=24, depth=2, num_heads=3, num_classes=10
    ).eval()
    for value in theirs.parameters():
        nn.init.normal_(value, std=0.2)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    ours = build_net(
        name="vit_tiny_32",
        num_classes=10,
        in_channels=3,
        image_size=16,
        arguments={"width": 24, "depth": 2, "heads": 3},
        weights=str(tmp_path / "theirs.pth"),
        weights_by_order=True,
    ).eval()
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(ours(images), theirs(images), atol=1e-5, rtol=1e-5)


def test_patches_become_tokens_as_by_unfold_and_a_linear_map() -> None:
    torch.manual_seed(0)
    embedding = Embedding(in_channels=3, image_size=8, patch=4, width=5)
    images = torch.rand(2, 3, 8, 8)
    patches = F.unfold(images, 4, stride=4).transpose(1, 2)  # (B, 4, 48)
    expected = F.linear(patches, embedding.proj.weight.flatten(1), embedding.proj.bias)
    tokens = embedding(images) - embedding.pos_embed
    torch.testing.assert_close(tokens[:, 1:], expected)
    torch.testing.assert_close(tokens[:, 0], embedding.cls_token[0].expand(2, -1))


def test_attention_is_its_definition_and_does_not_know_the_order_of_tokens() -> None:
    torch.manual_seed(0)
    layer = Attention(width=8, heads=2)
    tokens = torch.randn(2, 5, 8)
    queries, keys, values = (layer.qkv(tokens)[:, :, start : start + 8] for start in (0, 8, 16))
    parts = []
    for head in (slice(0, 4), slice(4, 8)):
        weights = (queries[:, :, head] @ keys[:, :, head].transpose(1, 2) / 2).softmax(dim=2)
        parts.append(weights @ values[:, :, head])
    torch.testing.assert_close(layer(tokens), layer.proj(torch.cat(parts, dim=2)))
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(layer(tokens[:, order]), layer(tokens)[:, order])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patch": 5}, "patch 5 and image_size 16"),
        ({"heads": 5}, "heads 5 and width 64"),
        ({"depth": 0}, "at least 1; got 4, 64, 0, 4"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VisionTransformer(num_classes=10, in_channels=3, image_size=16, **arguments)
