"""uint8 to normalised float32 at 224 pixels, against torchvision's ToTensor and Normalize.

`python -m benchmarks.normalise`.

Each way runs in a process of its own, as memory that one way frees would be kept for the other: `train.py` lets its
process keep freed memory (`engine/memory.py`), a plain program does not.
"""

import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.measure import Row, compared, interleaved, main, one_thread

ROOT = Path(__file__).resolve().parents[1]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGES, REPEATS = 64, 9
OURS, GIVEN_BACK, THEIRS = "here", "here, freed memory given back", "torchvision ToTensor + Normalize"


def run() -> list[Row]:
    """Compare on one batch; ours is the stated formula to the bit, or `way` fails."""
    times = interleaved({name: partial(child, name) for name in (OURS, GIVEN_BACK, THEIRS)}, rounds=5)
    what = f"uint8 -> float32, normalised, {IMAGES} images of 224 x 224"
    note = f"{IMAGES / statistics.median(times[OURS]):,.0f} images/s, bit-equal to x * scale + bias"
    return [
        compared(what, times, ours=OURS, theirs=THEIRS, goal=3.5, note=note),
        compared(what, times, ours=OURS, theirs=GIVEN_BACK),
    ]


def child(name: str) -> float:
    """CPU seconds of one batch, measured in a new process."""
    command = [sys.executable, "-m", "benchmarks.normalise", name]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def way(name: str) -> float:
    """Median CPU seconds of one batch, done this way in this process."""
    import numpy as np
    import torch
    from torchvision import transforms

    from benchmarks.pictures import photo_crops
    from datamodules.transforms import normalise
    from engine.memory import keep_freed_memory
    from settings.preprocessing import Preprocessing

    one_thread()
    images = photo_crops(IMAGES, 224)
    how = Preprocessing(image_size=224, resize=256, interpolation="bilinear", channels=3, mean=MEAN, std=STD)
    scale, bias = (
        one.float().view(3, 1, 1)
        for one in (
            1 / (255 * torch.tensor(STD, dtype=torch.float64)),
            -torch.tensor(MEAN, dtype=torch.float64) / torch.tensor(STD, dtype=torch.float64),
        )
    )
    assert torch.equal(normalise(images, how), torch.addcmul(bias, images.float(), scale))
    arrays = [np.ascontiguousarray(image.permute(1, 2, 0).numpy()) for image in images]  # as decoders give them
    pipeline = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    if name == OURS:
        keep_freed_memory()
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        torch.stack([pipeline(array) for array in arrays]) if name == THEIRS else normalise(images, how)
        taken.append(time.process_time() - start)
    return statistics.median(taken)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(way(sys.argv[1]))
    else:
        main("normalise", run)
