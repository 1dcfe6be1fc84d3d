"""Real images for the benchmarks: random crops of the two photos that scikit-learn carries."""

from pathlib import Path

import torch


def photo_crops(count: int, side: int, *, seed: int = 0) -> torch.Tensor:
    """Crops of random size and place, brought to ``side`` pixels: uint8 ``(count, 3, side, side)``."""
    from sklearn.datasets import load_sample_images
    from torchvision.transforms.v2 import functional as v2

    photos = [torch.from_numpy(photo.copy()).permute(2, 0, 1) for photo in load_sample_images().images]
    draws = torch.Generator().manual_seed(seed)
    crops = []
    for index in range(count):
        photo = photos[index % len(photos)]
        length = int(torch.randint(side, 400, (), generator=draws)) if side < 400 else side
        top, left = (int(torch.randint(0, limit - length + 1, (), generator=draws)) for limit in photo.shape[-2:])
        crops.append(v2.resized_crop(photo, top, left, length, length, [side, side], antialias=True))
    return torch.stack(crops)


def write_jpegs(folder: Path, count: int, *, width: int, height: int, quality: int = 90, seed: int = 0) -> list[Path]:
    """Write an image folder of crops of the photos, enlarged where they are smaller: ``folder/train/CLASS/N.jpg``.

    Returns:
        Its files; beside them a validation set of one picture a class.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]  # 640 x 427
    draws = torch.Generator().manual_seed(seed)
    paths = []
    for index in range(count):
        photo = photos[index % len(photos)]
        limit = min(1.0, photo.width / width, photo.height / height)  # share of the crop that the photo can give
        size = (round(width * limit), round(height * limit))
        left, top = (
            int(torch.randint(0, whole - part + 1, (), generator=draws))
            for whole, part in zip(photo.size, size, strict=True)
        )
        crop = photo.crop((left, top, left + size[0], top + size[1])).resize((width, height), Image.Resampling.BICUBIC)
        path = folder / "train" / ("china", "flower")[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.save(path, quality=quality)
        paths.append(path)
    for path in paths[:2]:
        held_out = folder / "val" / path.parent.name / path.name
        held_out.parent.mkdir(parents=True)
        held_out.write_bytes(path.read_bytes())
    return paths


def write_squares(
    folder: Path, count: int, *, sides: tuple[int, int], enlarged: int | None = None, seed: int = 0
) -> list[Path]:
    """Write square crops of the photos as JPEG files: ``folder/N.jpg``.

    Args:
        folder: is made.
        count: how many.
        sides: smallest and largest, in the photos' own pixels.
        enlarged: side in pixels that all are brought to; None leaves them as they are.
        seed: of their places.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(photo) for photo in load_sample_images().images]  # 640 x 427
    draws = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True)
    paths = [folder / f"{index}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        photo = photos[index % len(photos)]
        side = int(torch.randint(sides[0], sides[1] + 1, (), generator=draws))
        left, top = (int(torch.randint(0, whole - side + 1, (), generator=draws)) for whole in photo.size)
        crop = photo.crop((left, top, left + side, top + side))
        if enlarged is not None:
            crop = crop.resize((enlarged, enlarged), Image.Resampling.BICUBIC)
        crop.save(path, quality=92)
    return paths
