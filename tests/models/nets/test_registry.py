"""What every net of our own table keeps to; a net that is added there is found without an edit here."""

import inspect
import io
import math

import pytest
import torch
from torch import nn

from models.build import build_net, own_class
from models.nets import NETS
from models.stages import stages

CLASSES = 3
# Nets of up to this many parameters are trained for real; of the larger ones only the smallest of its class.
SMALL = 300_000


def on_meta(name: str, *, image_size: int, in_channels: int = 3) -> nn.Module:
    with torch.device("meta"):
        return build_net(name=name, num_classes=CLASSES, in_channels=in_channels, image_size=image_size)


def size_for(name: str) -> int:
    sizes = own_class(name).image_sizes
    return sizes[0] if sizes else 16


def outputs_of(name: str, size: int) -> tuple[int, ...]:
    """What a net owes an image, by what it says it gives: classes, or classes a pixel."""
    dense = getattr(own_class(name), "output", "logits") == "dense"
    return (CLASSES, size, size) if dense else (CLASSES,)


COUNTS = {name: sum(p.numel() for p in on_meta(name, image_size=size_for(name)).parameters()) for name in NETS}
SMALLEST = {NETS[name][0]: name for name in sorted(NETS, key=lambda each: -COUNTS[each])}.values()
QUICK = [name for name in NETS if COUNTS[name] <= SMALL or name in SMALLEST]
DEEP = [name for name in NETS if COUNTS[name] > 5 * SMALL and name not in SMALLEST]


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in DEEP else ()) for name in NETS])
def test_images_become_logits(name: str, in_channels: int) -> None:
    for size in own_class(name).image_sizes or (8, 16, 28):
        net = on_meta(name, image_size=size, in_channels=in_channels)
        logits = net(torch.zeros(2, in_channels, size, size, device="meta"))
        assert logits.shape == (2, *outputs_of(name, size))


@pytest.mark.parametrize("name", NETS)
def test_constructor_is_keyword_only_typed_and_has_defaults_but_for_sizes(name: str) -> None:
    for key, parameter in inspect.signature(own_class(name)).parameters.items():
        assert parameter.kind is parameter.KEYWORD_ONLY, key
        assert parameter.annotation is not parameter.empty, key
        given = key in ("num_classes", "in_channels", "image_size")
        assert (parameter.default is parameter.empty) is given, key


@pytest.mark.parametrize("name", NETS)
def test_stages_hold_every_parameter_once_and_in_order(name: str) -> None:
    net = on_meta(name, image_size=size_for(name))
    found = stages(net)
    in_stages = [parameter for stage in found for parameter in stage.parameters]
    assert in_stages == [parameter for parameter, _ in net.named_parameters()]
    assert len({stage.name for stage in found}) == len(found)
    assert found[-1].name == "head"
    assert all(value.shape[0] == CLASSES for value in found[-1].parameters.values())


@pytest.mark.parametrize("name", QUICK)
def test_stages_follow_the_flow_of_the_image(name: str) -> None:
    """The order in which the layers are really called, against the order of the stages."""
    size = size_for(name)
    net = build_net(name=name, num_classes=CLASSES, in_channels=1, image_size=size).eval()
    number = {p: n for n, stage in enumerate(stages(net)) for p in stage.parameters}
    called: list[int] = []
    for path, module in net.named_modules():
        own = [f"{path}.{key}" for key, _ in module.named_parameters(recurse=False)]
        if own:
            module.register_forward_pre_hook(lambda *_, stage=number[own[0]]: called.append(stage))
    net(torch.rand(1, 1, size, size))
    assert called == sorted(called)
    assert set(called) == set(number.values())


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("name", QUICK)
def test_every_parameter_gets_a_gradient(name: str, in_channels: int) -> None:
    torch.manual_seed(0)
    size = size_for(name)
    net = build_net(name=name, num_classes=CLASSES, in_channels=in_channels, image_size=size)
    logits = net(torch.rand(4, in_channels, size, size))
    targets = torch.arange(4 * math.prod(outputs_of(name, size)[1:])).view(4, *logits.shape[2:]) % CLASSES
    torch.nn.functional.cross_entropy(logits, targets).backward()
    without = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("name", QUICK)
def test_state_survives_a_file_read_with_weights_only(name: str) -> None:
    size = size_for(name)
    first, second = (build_net(name=name, num_classes=CLASSES, in_channels=1, image_size=size).eval() for _ in range(2))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    images = torch.rand(2, 1, size, size)
    assert not torch.equal(first(images), second(images))
    second.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize("name", QUICK)
def test_another_size_works_or_is_refused_with_both_sizes(name: str) -> None:
    size = size_for(name)
    net = build_net(name=name, num_classes=CLASSES, in_channels=1, image_size=size).eval()
    needs_size = "image_size" in inspect.signature(own_class(name)).parameters
    images = torch.rand(1, 1, size + 5, size + 5)
    if needs_size:
        with pytest.raises(ValueError, match=rf"{size}x{size}.*{size + 5}x{size + 5}"):
            net(images)
    else:
        assert net(images).shape == (1, *outputs_of(name, size + 5))


@pytest.mark.parametrize("name", QUICK)
def test_evaluation_does_not_depend_on_the_rest_of_the_batch(name: str) -> None:
    size = size_for(name)
    net = build_net(name=name, num_classes=CLASSES, in_channels=1, image_size=size).eval()
    images = torch.rand(3, 1, size, size)
    torch.testing.assert_close(net(images)[:1], net(images[:1]))


@pytest.mark.parametrize("name", QUICK)
def test_memory_order_does_not_change_what_is_computed(name: str) -> None:
    torch.manual_seed(0)
    size = size_for(name)
    net = build_net(name=name, num_classes=CLASSES, in_channels=3, image_size=size).eval()
    images = torch.rand(2, 3, size, size)
    expected = net(images)
    net = net.to(memory_format=torch.channels_last)
    found = net(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", QUICK)
def test_bfloat16_comes_near(name: str) -> None:
    torch.manual_seed(0)
    size = size_for(name)
    net = build_net(name=name, num_classes=CLASSES, in_channels=3, image_size=size).eval()
    images = torch.rand(2, 3, size, size)
    expected = net(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = net(images)
    torch.testing.assert_close(found.float(), expected, atol=0.1 * max(1.0, expected.abs().max().item()), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_is_exported_for_any_number_of_images(name: str) -> None:
    torch.manual_seed(0)
    size = size_for(name)
    net = build_net(name=name, num_classes=CLASSES, in_channels=1, image_size=size).eval()
    images = torch.rand(2, 1, size, size)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(net, (images,), dynamic_shapes=({0: batch},), strict=False).module()
    for count in (1, 5):
        images = torch.rand(count, 1, size, size)
        torch.testing.assert_close(program(images), net(images), atol=1e-5, rtol=1e-4)
