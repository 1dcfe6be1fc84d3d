"""CapsNet: the paper's counts, squash and routing by their definitions, and the decoder."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from models.build import build_net
from models.nets.capsnet import CapsNet, ClassCapsules, route, squash


def build(name: str, **arguments: Any) -> CapsNet:
    sizes = {"num_classes": 10, "in_channels": 1, "image_size": 28}
    return build_net(name=name, **sizes, arguments=arguments)  # type: ignore[arg-type, return-value]


def test_parameters_and_shapes_are_the_papers() -> None:
    counts = {}
    for name in ("capsnet", "capsnet_decoder"):
        with torch.device("meta"):
            net = build(name)
        counts[name] = sum(parameter.numel() for parameter in net.parameters())
    assert counts == {"capsnet": 6_804_224, "capsnet_decoder": 8_215_568}
    assert sum(parameter.numel() for parameter in net.decoder.parameters()) == 1_411_344  # type: ignore[union-attr]
    shapes: list[tuple[int, ...]] = []
    for layer in (net.conv, net.parts, net.head):
        layer.register_forward_hook(lambda *given: shapes.append(tuple(given[2].shape[1:])))
    net(torch.zeros(1, 1, 28, 28, device="meta"))
    assert shapes == [(256, 20, 20), (256, 6, 6), (10, 16)]
    assert net.head.weight.shape == (10, 32 * 6 * 6, 16, 8)


def test_squash_keeps_the_direction_and_maps_the_length() -> None:
    vectors = torch.randn(5, 3, 8)
    out = squash(vectors)
    length = vectors.norm(dim=-1)
    torch.testing.assert_close(out.norm(dim=-1), length**2 / (1 + length**2), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(F.cosine_similarity(out, vectors, dim=-1), torch.ones(5, 3))
    zero = torch.zeros(1, 4, requires_grad=True)
    squash(zero).sum().backward()
    assert zero.grad is not None and zero.grad.isfinite().all()


def test_one_round_is_the_squash_of_an_even_share() -> None:
    predictions = torch.randn(2, 5, 7, 16)
    torch.testing.assert_close(route(predictions, routings=1), squash(predictions.sum(dim=2) / 5))


def test_routing_is_the_papers_procedure() -> None:
    """Written with loops: couplings sum to 1 over the classes, agreement is added to their logarithms."""
    torch.manual_seed(0)
    predictions = torch.randn(2, 3, 4, 16)
    for image in range(2):
        logits = torch.zeros(4, 3)  # of each part, over the classes
        for _ in range(3):
            couplings = logits.softmax(dim=1)
            torch.testing.assert_close(couplings.sum(dim=1), torch.ones(4))
            sums = [sum(couplings[part, k] * predictions[image, k, part] for part in range(4)) for k in range(3)]
            wholes = torch.stack([squash(each) for each in sums])  # type: ignore[arg-type]
            for part in range(4):
                for k in range(3):
                    logits[part, k] += predictions[image, k, part] @ wholes[k]
        torch.testing.assert_close(route(predictions, routings=3)[image], wholes)


def test_each_pair_of_part_and_class_has_a_matrix() -> None:
    torch.manual_seed(0)
    layer = ClassCapsules(num_classes=2, parts=3, routings=1)
    parts = torch.randn(1, 3, 8)
    sums = [sum(layer.weight[k, part] @ parts[0, part] for part in range(3)) / 2 for k in range(2)]
    torch.testing.assert_close(layer(parts)[0], torch.stack([squash(each) for each in sums]))  # type: ignore[arg-type]


def test_small_capsules_are_eight_maps_at_a_place_and_logits_are_lengths() -> None:
    torch.manual_seed(0)
    net = build("capsnet_tiny").eval()
    seen: dict[str, torch.Tensor] = {}
    net.parts.register_forward_hook(lambda *given: seen.update(maps=given[2]))
    net.head.register_forward_hook(lambda *given: seen.update(parts=given[1][0], wholes=given[2]))
    lengths = net(torch.rand(2, 1, 28, 28))
    one = seen["maps"][1, 8:16, 2, 5]  # the second kind, row 2 of 6, column 5
    torch.testing.assert_close(seen["parts"][1, 36 + 2 * 6 + 5], squash(one))
    torch.testing.assert_close(lengths, seen["wholes"].norm(dim=2), atol=1e-4, rtol=1e-3)
    assert ((lengths > 0) & (lengths < 1)).all()


def test_the_decoder_sees_the_capsule_of_the_class_alone() -> None:
    torch.manual_seed(0)
    net = build("capsnet_tiny", decoder=True)
    wholes, shares = torch.randn(2, 10, 16), F.one_hot(torch.tensor([3, 7]), 10).float()
    drawn = net.drawn(wholes, shares)
    assert drawn.shape == (2, 1, 28, 28)
    others = wholes + torch.randn(2, 10, 16) * (1 - shares)[:, :, None]
    assert torch.equal(net.drawn(others, shares), drawn)
    assert not torch.equal(net.drawn(wholes * 1.1, shares), drawn)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"image_size": 16}, "at least 17 pixels; got image_size 16"), ({"routings": 0}, "at least 1; got 256, 32, 0")],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CapsNet(**{"num_classes": 10, "in_channels": 1, "image_size": 28, **arguments})
