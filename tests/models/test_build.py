"""The builder: known parameter counts, arguments, names, and mistakes that are told before training."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision

from models.build import build_net, library_names, net_input
from settings.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

# Published counts for 1,000 classes and 3 channels; googlenet and inception_v3 come without their auxiliary
# heads here (v3: 27,161,264 less 3,326,696).
COUNTS = {
    "alexnet": 61_100_840,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "googlenet": 6_624_904,
    "inception_v3": 27_161_264 - 3_326_696,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet121": 7_978_856,
    "efficientnet_b0": 5_288_548,
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "vit_b_16": 86_567_656,
}


def count(net: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("name", COUNTS)
def test_torchvision_counts(name: str) -> None:
    size = 299 if name == "inception_v3" else 224
    with torch.device("meta"):
        net = build_net(name=name, num_classes=1000, in_channels=3, image_size=size)
    assert count(net) == COUNTS[name]
    assert net(torch.zeros(2, 3, size, size, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize(("name", "expected"), [("googlenet", 13_004_888), ("inception_v3", 27_161_264)])
def test_counts_with_auxiliary_heads(name: str, expected: int) -> None:
    with torch.device("meta"):
        net = build_net(name=name, num_classes=1000, in_channels=3, image_size=299, arguments={"aux_logits": True})
    assert count(net) == expected
    assert net.eval()(torch.zeros(2, 3, 299, 299, device="meta")).shape == (2, 1000)


def test_auxiliary_heads_want_larger_images() -> None:
    sizes = {"num_classes": 3, "in_channels": 3, "image_size": 96}
    before = build_net(name="inception_v3", **sizes)
    assert before.training and before.Conv2d_1a_3x3.bn.num_batches_tracked == 0
    with pytest.raises(UserError, match="cannot take images of 96x96 pixels"):
        build_net(name="inception_v3", arguments={"aux_logits": True}, **sizes)


@pytest.mark.parametrize(
    ("name", "image_size", "expected"),
    [("lenet5", 32, 61_706), ("resnet20", 32, 269_434), ("resnet56", 32, 852_730), ("softmax", 28, 7_850)],
)
def test_own_counts(name: str, image_size: int, expected: int) -> None:
    assert count(build_net(name=name, num_classes=10, in_channels=1, image_size=image_size)) == expected


@pytest.mark.parametrize("source", ["torchvision", "timm"])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_library_nets_fit_the_data(source: str, in_channels: int) -> None:
    net = build_net(name="resnet18", source=source, num_classes=4, in_channels=in_channels, image_size=32)
    assert type(net).__module__.partition(".")[0] == source
    assert net.training
    images = torch.rand(2, in_channels, 32, 32)
    logits = net(images)
    assert logits.shape == (2, 4)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_bare_name_is_own_then_torchvision_then_timm() -> None:
    for name, library in [("resnet20", "models"), ("resnet18", "torchvision"), ("convnext_atto", "timm")]:
        net = build_net(name=name, num_classes=2, in_channels=3, image_size=32)
        assert type(net).__module__.partition(".")[0] == library
    tagged = build_net(name="resnet10t.c3_in1k", num_classes=2, in_channels=1, image_size=32)
    assert tagged.pretrained_cfg["tag"] == "c3_in1k"


@pytest.mark.parametrize(("name", "source"), [("vit_b_32", "torchvision"), ("vit_tiny_patch16_224", "timm")])
def test_transformers_are_built_for_the_size_of_the_images(name: str, source: str) -> None:
    net = build_net(name=name, source=source, num_classes=2, in_channels=1, image_size=64).eval()
    assert net(torch.rand(1, 1, 64, 64)).shape == (1, 2)


def test_arguments_reach_the_constructor() -> None:
    own = build_net(name="plain20", num_classes=2, in_channels=1, image_size=8, arguments={"width": 4, "depth": 8})
    assert own.conv.out_channels == 4 and len(own.stage1) == 1 and own.stage2[0].shortcut is None
    library = build_net(name="mobilenet_v2", num_classes=2, in_channels=1, image_size=32, arguments={"dropout": 0.7})
    assert library.classifier[0].p == 0.7
    timm = build_net(name="resnet10t", num_classes=2, in_channels=1, image_size=32, arguments={"drop_rate": 0.6})
    assert timm.drop_rate == 0.6


def test_building_for_a_seed_gives_the_same_weights() -> None:
    nets = []
    for _ in range(2):
        torch.manual_seed(3)
        nets.append(build_net(name="resnet18", num_classes=2, in_channels=1, image_size=32))
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in nets), strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "vgg166"}, "unknown model 'vgg166'; nearest: vgg16"),
        ({"name": "resnet2", "source": "own"}, "unknown model of own 'resnet2'; nearest: .*resnet20"),
        ({"name": "resnet20", "source": "timmm"}, "unknown model.source 'timmm'; nearest: timm"),
        (
            {"name": "resnet20", "arguments": {"dept": 20}},
            "unknown argument of model resnet20 'dept'; nearest: depth",
        ),
        ({"name": "resnet20", "arguments": {"depth": 21}}, "such as 20 or 26.*got 21"),
        ({"name": "resnet18", "arguments": {"num_classes": 4}}, "num_classes is set by the data"),
        ({"name": "resnet18", "arguments": {"dropuot": 0.1}}, "resnet18.*dropuot"),
        ({"name": "lenet5", "image_size": 8}, "28 or 32 pixels; got image_size 8"),
        ({"name": "alexnet"}, "alexnet cannot take images of 28x28 pixels .*data.image_size"),
        ({"name": "vit_b_16"}, "vit_b_16 .* for 28x28 images cannot be built"),
        ({"name": "vit_tiny_patch16_224", "image_size": 8}, "vit_tiny_patch16_224.*8x8"),
        ({"name": "resnet18", "in_channels": 4}, "from 3 to 4 channels"),
    ],
)
def test_mistakes_are_told(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        build_net(**{"num_classes": 10, "in_channels": 1, "image_size": 28, **arguments})
    assert all("\n" not in line for line in raised.value.messages)


def test_net_input_of_nets_without_weights() -> None:
    assert net_input(name="lenet5").image_sizes == (28, 32)
    assert net_input(name="resnet20").image_sizes is None
    assert net_input(name="resnet18").mean is None


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    # torchvision's documentation of the weights, and timm's table
    [
        ("resnet18", "torchvision", (224, 256, "bilinear", (0.485, 0.456, 0.406))),
        ("efficientnet_b0", "torchvision", (224, 256, "bicubic", (0.485, 0.456, 0.406))),
        ("resnet18.a1_in1k", "timm", (224, 235, "bicubic", (0.485, 0.456, 0.406))),
        ("vit_tiny_patch16_224", "timm", (224, 248, "bicubic", (0.5, 0.5, 0.5))),
    ],
)
def test_net_input_follows_the_weights(name: str, source: str, expected: tuple) -> None:
    wanted = net_input(name=name, source=source, weights="default")
    assert (wanted.image_size, wanted.resize, wanted.interpolation, wanted.mean) == expected


def test_named_sets_have_their_own_preprocessing() -> None:
    assert net_input(name="resnet50", weights="IMAGENET1K_V1").resize == 256
    assert net_input(name="resnet50", weights="IMAGENET1K_V2").resize == 232
    assert net_input(name="vit_b_16", weights="default").image_sizes == (224,)


def test_half_normalisation_equals_torchvisions_own_transform() -> None:
    """googlenet re-normalises inside; we build it without that and say 0.5 for mean and std."""
    wanted = net_input(name="googlenet", weights="default")
    ours = build_net(name="googlenet", num_classes=3, in_channels=3, image_size=64).eval()
    theirs = torchvision.models.googlenet(
        num_classes=3, aux_logits=False, init_weights=False, transform_input=True
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 64, 64)

    def normalised(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    imagenet = normalised((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert wanted.mean is not None and wanted.std is not None
    torch.testing.assert_close(ours(normalised(wanted.mean, wanted.std)), theirs(imagenet))


def test_names_of_all_sources() -> None:
    assert "resnet20" in library_names("own")
    assert "vit_b_16" in library_names("torchvision") and "fcn_resnet50" not in library_names("torchvision")
    assert len(library_names("timm")) > 1000


def test_our_own_nets_need_neither_library_and_the_tables_no_torch() -> None:
    script = (
        "import sys; import models, models.nets; assert 'torch' not in sys.modules, 'torch';"
        "from models.build import build_net;"
        "build_net(name='resnet20', num_classes=2, in_channels=1, image_size=8);"
        "from models import load_run; assert callable(load_run);"
        "found = {'torchvision', 'timm', 'lightning'} & set(sys.modules); assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
