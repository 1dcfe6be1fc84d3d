"""JPEG files to normalised batches at 224 pixels, against PIL and torchvision per sample: `python -m benchmarks.jpeg`.

The recipe: random resized crop, flip, RandAugment(2, 9), normalise. Real pictures: crops of photos, written as JPEG of
500 x 375 pixels, and of 4000 x 3000, as phones take them. All in one process and one thread.

Tried, and not taken:
- OpenCV's decoder: Pillow's pixels, too, but 5 % slower than simplejpeg on small files and 80 % on large ones, and
  without a word about truncated files; torchvision's 15 and 60 %.
- Decoding at five or six eighths for small files: longer than the whole picture, as only a half, a quarter and an
  eighth have code for the processor's vectors.
- Decoding only the rows and columns of the crop, which libjpeg-turbo can: no package on PyPI offers it with the
  library inside (PyTurboJPEG wants the system's).
- The library's fast DCT and plain chroma upsampling: 9 % of the decoder's time, for other pixels than Pillow's.
- Resizing by OpenCV without antialias: a sixth of the recipe's time, for other pixels: weights were trained with one.
- RandAugment sorted by operation, as for small images: 2.7 times the time at 224 pixels.

What is left of an image from the cache, in microseconds of about 770: entry read 40, its checksum 14, draws 20, crop
and resize 150 (torch's resize alone 105), two operations of RandAugment 240, mirror 17, batch 10, normalise 73 (writing
its 600 KB alone 26), and Python between them. Tried there, and not taken:
- Entries by mmap: 40 where reading takes 19, as each page is a fault.
- Colours beside each other to the end: OpenCV's `remap` of them takes 107 for a move, `take` of 32-bit numbers 26.
- OpenCV's `merge` before `take`: it writes past the processor's cache, and `take` then waits 118 where it needs 26.
- 16-bit sums and tables for sharpness: no faster than float32, whose order of rounding has to be kept anyway.
- NumPy's and torch's counts of levels for equalize: 193 and 100, OpenCV's 103; its tables of 256 levels take 45 for any
  operation, 0.3 a byte, and torch's and NumPy's look-ups more.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import Row, compared, interleaved, main, one_thread
from benchmarks.pictures import write_jpegs
from datamodules.folder import Folder
from engine.memory import keep_freed_memory
from settings.preprocessing import Preprocessing

SIZE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HOW = Preprocessing(image_size=SIZE, resize=256, interpolation="bilinear", channels=3, mean=MEAN, std=STD)
RECIPE: dict[str, dict] = {"random_resized_crop": {}, "horizontal_flip": {}, "randaugment": {}}
SMALL, PHONE = (500, 375), (4000, 3000)
CACHED = "from the decoded cache"
THEIRS = "PIL + torchvision v2 per sample"


def run() -> list[Row]:
    """Compare on small files and on phone photos; then two threads with two worker processes."""
    one_thread()
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for (width, height), count, goal in ((SMALL, 64, 1.9), (PHONE, 6, None)):
            folder = Path(scratch) / f"{width}"
            paths = write_jpegs(folder, count, width=width, height=height)
            ways: dict[str, Callable[[], object]] = {
                "here": epoch_of(folder, count),
                CACHED: epoch_of(folder, count, cache=Path(scratch) / "cache"),
                "here, all pixels decoded": epoch_of(folder, count, scaled_decode=False),
                THEIRS: partial(per_sample, paths, reference()),
            }
            times = interleaved(ways, rounds=7)
            what = f"JPEG {width}x{height} -> {SIZE}: crop, flip, RandAugment(2, 9), normalise"
            rows.append(compared(what, times, ours="here", theirs=THEIRS, goal=goal, note=_rate(times["here"], count)))
            note = _rate(times[CACHED], count)
            rows.append(compared(f"{what}; {CACHED}", times, ours=CACHED, theirs=THEIRS, goal=goal and 4.0, note=note))
            rows.append(compared(what, times, ours="here", theirs="here, all pixels decoded"))
        return rows


def opened(folder: Path, count: int, *, workers: int = 0, batch_size: int = 0, **own: Any) -> Folder:
    """The files as training data, one batch an epoch unless said otherwise."""
    data = Folder(root=folder, data_dir=folder.parent, check="off", **own)
    data.prepare_data()
    data.configure(batch_size=batch_size or count, num_workers=workers, preprocessing=HOW, recipe=RECIPE)
    with contextlib.redirect_stdout(io.StringIO()):
        data.setup("fit")
    assert len(data.splits["train"]) == count
    return data


def epoch_of(folder: Path, count: int, **own: Any) -> Callable[[], torch.Tensor]:
    """A function that makes one epoch's batch as training does."""
    data = opened(folder, count, **own)
    loader, steps = data.train_dataloader(), iter(range(1_000_000))

    def epoch() -> torch.Tensor:
        (batch,) = loader
        return data.train_batch(batch, step=next(steps))[0]

    return epoch


def reference() -> Callable[[Any], torch.Tensor]:
    """The documented torchvision v2 pipeline on PIL images."""
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomResizedCrop(SIZE),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(2, 9),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def per_sample(paths: list[Path], pipeline: Callable[[Any], torch.Tensor]) -> torch.Tensor:
    """One file after another, as torchvision's ImageFolder reads them."""
    from torchvision.datasets.folder import pil_loader

    return torch.stack([pipeline(pil_loader(path)) for path in paths])


def _rate(times: list[float], count: int) -> str:
    return f"{count / sorted(times)[len(times) // 2]:,.0f} images/s"


if __name__ == "__main__":
    main("jpeg", run)
