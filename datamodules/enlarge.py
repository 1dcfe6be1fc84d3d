"""Write a data set with augmented copies of its training images to disk: a folder of class folders and a manifest."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from datamodules.base import Batch, ImageDataModule
from settings.errors import UserError
from settings.whole_file import TableWriter

BATCH = 256
"""Images that are augmented at once. Draws are keyed by the batch, so another number gives other copies."""

HEADER = ("file", "label", "split", "source", "copy")


def write_enlarged(data: ImageDataModule, folder: Path, *, copies: int, ending: str) -> dict[str, int]:
    """Write every image as the net would see it before normalisation, training images also ``copies`` times augmented.

    The folder appears whole, or not at all: it is written beside its place first.

    Args:
        data: configured with the recipe; its seed decides about every draw.
        folder: a place that is empty.
        copies: of each training image.
        ending: "png" or "jpg".

    Returns:
        Number of files in each split.

    Raises:
        UserError: it cannot be written.
    """
    data.setup()
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        counts = _write(data, unfinished, copies, ending)
        if folder.is_dir():
            folder.rmdir()
        unfinished.replace(folder)
    except OSError as error:
        raise UserError(f"output={folder}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return counts


def _write(data: ImageDataModule, folder: Path, copies: int, ending: str) -> dict[str, int]:
    class_folders = folder_names(data.class_names)
    counts: Counter[str] = Counter()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = TableWriter(file, lineterminator="\r\n")
        manifest.writerow(HEADER)
        for split, source in data.splits.items():
            for name in class_folders:
                (folder / split / name).mkdir(parents=True)
            for places, copy, (images, targets) in _batches(data, split, copies):
                for place, image, target in zip(places.tolist(), images, targets.tolist(), strict=True):
                    stem = f"{place:06d}-{_safe(Path(source.keys[place]).stem)}{f'-copy{copy}' if copy else ''}"
                    path = f"{split}/{class_folders[target]}/{stem}.{ending}"
                    _save(image, folder / path)
                    manifest.writerow((path, data.class_names[target], split, source.keys[place], copy))
                    counts[split] += 1
    return dict(counts)


def _batches(data: ImageDataModule, split: str, copies: int) -> Iterator[tuple[torch.Tensor, int, Batch]]:
    """Yield (places in the split, number of the copy or 0, uint8 images and class indices)."""
    chunks = torch.arange(len(data.splits[split])).split(BATCH)
    for number, places in enumerate(chunks):
        yield places, 0, data.plain_batch(split, places)
        if split == "train":
            for copy in range(1, copies + 1):
                yield places, copy, data.drawn_batch(places, epoch=copy, step=copy * len(chunks) + number)


def folder_names(class_names: Sequence[str]) -> list[str]:
    """Names that every file system takes, none twice: "T-shirt/top" becomes "T-shirt_top"."""
    names: list[str] = []
    for class_name in class_names:
        name = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", class_name).strip(". ") or "_"
        while name.casefold() in (taken.casefold() for taken in names):
            name += "_"
        names.append(name)
    return names


def _safe(stem: str) -> str:
    return re.sub(r"[^\w.-]", "_", stem)[:80]


def _save(image: torch.Tensor, path: Path) -> None:
    from PIL import Image

    pixels = image.permute(1, 2, 0).cpu().numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.save(path, quality=95)  # of JPEG; PNG has no loss
