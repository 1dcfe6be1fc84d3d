"""Augmentation of small images in memory: whole batches here, image by image in torchvision v2 on PIL.

`python -m benchmarks.small_images`. The recipe: crop with padding, flip, RandAugment(2, 9), Cutout, normalise. Real
images: crops of photos.

The limit of any loader that gives float32 batches is a random gather and the conversion. As both are mostly written
(`images[indices]`, the textbook's formula) crop and flip on top of ours still leave us ahead. Beside our own gather and
conversion, which take a quarter of that, they cost more than all the rest: of 2.6 us an image the gather takes 0.3, the
crop 0.7, the flip 0.5 and normalising 1.1. Crop and flip move each image's 3 kB three to four times, in memory that the
25 MB of a batch's steps, one after the other, have driven out of the processor's nearest cache; with everything in it
they take half. Tried: the crop out of padded images (twice its time), the flip by a choice of rows from both (1.3
times) and by index_copy_ (three times), normalising 16 to 128 images at a time (as long).
"""

from functools import partial

import torch

from benchmarks.measure import ROUNDS, Row, compared, interleaved, main, one_thread
from benchmarks.pictures import photo_crops
from datamodules.batch import build_recipe
from datamodules.transforms import normalise
from engine.memory import keep_freed_memory
from settings.preprocessing import Preprocessing

BATCH = 512
MANY = 20
"""Batches timed at once where one takes a few milliseconds."""
MEAN, STD = (0.49, 0.48, 0.44), (0.25, 0.24, 0.26)
RECIPE: dict[str, dict] = {"random_crop": {}, "horizontal_flip": {}, "randaugment": {}, "cutout": {}}
PLAIN: dict[str, dict] = {"random_crop": {}, "horizontal_flip": {}}
OURS, PLAINLY = "our own gather and normalise", "gather and normalise, as mostly written"
GOALS = {32: 9.0, 64: 4.0, 96: 2.0}


def run(*, rounds: int = ROUNDS) -> list[Row]:
    """Compare at 32, 64 and 96 pixels."""
    one_thread()
    keep_freed_memory()
    rows = []
    for side, goal in GOALS.items():
        images = photo_crops(2048, side)
        times = interleaved(
            {"here": partial(ours, images, RECIPE), "torchvision v2 on PIL": per_image(images)}, rounds=rounds
        )
        what = f"{side} x {side}: crop, flip, RandAugment(2, 9), Cutout, normalise; batch {BATCH}"
        note = f"{BATCH / _median(times['here']):,.0f} images/s"
        rows.append(compared(what, times, ours="here", theirs="torchvision v2 on PIL", goal=goal, note=note))
        if side == 32:
            times = interleaved(
                {
                    "here": partial(ours, images, PLAIN, MANY),
                    OURS: partial(ours, images, {}, MANY),
                    PLAINLY: partial(plainly, images, MANY),
                },
                rounds=rounds,
            )
            what = "32 x 32: crop, flip, normalise"
            note = f"{MANY * BATCH / _median(times['here']):,.0f} images/s"
            rows.append(compared(what, times, ours="here", theirs=PLAINLY, goal=0.6, note=note))
            rows.append(compared(what, times, ours="here", theirs=OURS))
    return rows


def ours(images: torch.Tensor, recipe: dict, batches: int = 1) -> torch.Tensor:
    """Random batches as a data module makes them: gather, recipe, normalise."""
    side = images.shape[-1]
    how = Preprocessing(image_size=side, resize=side, interpolation="bilinear", channels=3, mean=MEAN, std=STD)
    operations = build_recipe(recipe, num_classes=10) if recipe else []
    draws = torch.Generator().manual_seed(0)
    for _ in range(batches):
        batch = images.index_select(0, torch.randint(len(images), (BATCH,), generator=draws))
        targets = torch.zeros(BATCH, dtype=torch.int64)
        for operation in operations:
            batch, targets, _ = operation(batch, targets, generator=draws)
        batch = normalise(batch, how)
    return batch


def plainly(images: torch.Tensor, batches: int) -> torch.Tensor:
    """Random batches by indexing, in float32 by the textbook's formula; nothing random but their choice."""
    draws = torch.Generator().manual_seed(0)
    mean, std = (torch.tensor(one).view(-1, 1, 1) for one in (MEAN, STD))
    for _ in range(batches):
        batch = images[torch.randint(len(images), (BATCH,), generator=draws)]
        batch = (batch.float() / 255 - mean) / std
    return batch


def per_image(images: torch.Tensor):
    """The documented torchvision v2 pipeline, one PIL image after another."""
    from torchvision.transforms.v2 import functional

    pipeline = pil_pipeline(images.shape[-1])
    pictures = [functional.to_pil_image(image) for image in images[:BATCH]]
    return lambda: torch.stack([pipeline(picture) for picture in pictures])


def pil_pipeline(side: int):
    """The recipe in torchvision v2, for one PIL image."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomCrop(side, padding=side // 8),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(2, 9),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.RandomErasing(p=1.0, scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0)),
            v2.Normalize(MEAN, STD),
        ]
    )


def _median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


if __name__ == "__main__":
    main("small_images", run)
