"""Runs on image files, stopped at an epoch's end or in its middle, go on to the undisturbed run's bits.

Whatever is random in them, with and without loader workers, and with other workers than before.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.signals import Stopped
from datamodules.fashion_mnist import DEBIAN_FOLDER, FashionMNIST
from models.tasks.classification import Classification
from tests.reliability.test_exact_resume import last, same
from train import train

COMMON = [
    *("data=folder", "data.channels=1", "data.image_size=16", "data.batch_size=16", "data.check=off", "augment=none"),
    *("model=test_resnet", "optimizer=sgd", "optimizer.lr=0.02", "scheduler=one_cycle", "trainer.max_epochs=3"),
    *("callbacks=none", "callbacks.ema.decay=0.8", "callbacks.early_stopping.patience=2", "test=false"),
]
STEPS = 5  # 84 training images in batches of 16

IMAGES = ["augment=photo"]
MIXING = ["augment.mixup.p=0.5", "augment.cutmix.p=0.5"]
DROPPING = ["model.arguments.drop_rate=0.2", "model.arguments.drop_path_rate=0.3"]
KINDS = {
    "shuffle": [],
    "images": IMAGES,
    "mixing": MIXING,
    "dropping": DROPPING,
    "all": [*IMAGES, *MIXING, *DROPPING],
    "accumulation": [*IMAGES, *MIXING, *DROPPING, "trainer.accumulate_grad_batches=2"],
}
WORKERS = {
    "0": ["data.num_workers=0"],
    "2": ["data.num_workers=2", "data.persistent_workers=false"],
    "2 persistent": ["data.num_workers=2"],
}
MOMENTS = {"mid-epoch": STEPS + 3, "epoch's end": 2 * STEPS}
"""Optimiser steps that are done when the signal has been heeded."""

CELLS = [(kind, workers, moment) for kind in KINDS for workers in WORKERS for moment in MOMENTS]
FEW = [("all", "2 persistent", "mid-epoch"), ("all", "2 persistent", "epoch's end")]
CHANGES = [(kind, *pair) for kind in ("images", "dropping", "all") for pair in permutations(WORKERS, 2)]
FEW_CHANGES = [("all", "2 persistent", "0")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 real pictures of each of three kinds of clothes, half of them JPEG."""
    from PIL import Image

    root = tmp_path_factory.mktemp("photos")
    source = FashionMNIST(root=DEBIAN_FOLDER).sources()["test"]
    for label in (1, 7, 8):
        folder = root / source_name(label)
        folder.mkdir()
        for number, index in enumerate((source.targets == label).nonzero()[:40, 0].tolist()):
            ending = ".png" if number % 2 else ".jpg"
            Image.fromarray(source.images[index, 0].numpy()).save(folder / f"{number}{ending}")
    return root


def source_name(label: int) -> str:
    return FashionMNIST.class_names[label].replace("/", " ")


@contextmanager
def stopped_after(steps: int, *, accumulation: int = 1) -> Iterator[None]:
    """Send SIGTERM from inside the batch after which so many optimiser steps are done."""
    original = Classification.training_step
    seen = 0

    def step(self: Any, *arguments: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == steps * accumulation - (accumulation - 1):  # in the window's first batch
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Classification, "training_step", step)
        with pytest.raises(Stopped):
            yield


class Matrix:
    """Runs of the cells; those that several cells share are made once."""

    def __init__(self, photos: Path, folder: Path) -> None:
        self.photos, self.folder = photos, folder
        self.whole, self.cut = cache(self._whole), cache(self._cut)
        self.count = 0

    def train(self, kind: str, workers: str, runs: Path) -> Path:
        words = [*COMMON, *KINDS[kind], *WORKERS[workers], f"data.root={self.photos}"]
        train([*words, f"paths.runs={runs}", f"paths.data={self.folder}", "name=run", "resume=auto"])
        return runs

    def _whole(self, kind: str, workers: str) -> Path:
        return self.train(kind, workers, self.folder / f"{kind} {workers}")

    def _cut(self, kind: str, workers: str, moment: str) -> Path:
        runs = self.folder / f"{kind} {workers} {moment}"
        with stopped_after(MOMENTS[moment], accumulation=2 if kind == "accumulation" else 1):
            self.train(kind, workers, runs)
        assert last(runs, "run")["global_step"] == MOMENTS[moment]
        return runs

    def gone_on(self, kind: str, before: str, moment: str, after: str) -> Path:
        """Go on with a copy of the stopped run."""
        self.count += 1
        copy = self.folder / f"copy {self.count}"
        return self.train(kind, after, shutil.copytree(self.cut(kind, before, moment), copy))

    def check(self, kind: str, before: str, moment: str, after: str) -> None:
        """Hold every part that decides how training goes on against the undisturbed run's, and the metrics."""
        whole, cut = self.whole(kind, before), self.gone_on(kind, before, moment, after)
        one, other = last(whole, "run"), last(cut, "run")
        assert one["global_step"] == other["global_step"] == 3 * STEPS
        parts = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers")
        for part in parts:
            assert one[part] and same(one[part], other[part]), part
        watched = ("Patience", "BestCheckpoint")
        for name, state in one["callbacks"].items():
            if name.startswith(watched):
                assert same(state, other["callbacks"][name]), name
        assert sum(name.startswith(watched) for name in one["callbacks"]) == 2
        rows = [next(runs.glob("*/run/metrics.csv")).read_text() for runs in (whole, cut)]
        assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def matrix(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return Matrix(photos, tmp_path_factory.mktemp("matrix"))


@pytest.mark.parametrize(
    ("kind", "workers", "moment"), [pytest.param(*c, marks=() if c in FEW else pytest.mark.slow) for c in CELLS]
)
def test_going_on_ends_with_the_same_bits(kind: str, workers: str, moment: str, matrix: Matrix) -> None:
    matrix.check(kind, workers, moment, workers)


@pytest.mark.parametrize(
    ("kind", "before", "after"), [pytest.param(*c, marks=() if c in FEW_CHANGES else pytest.mark.slow) for c in CHANGES]
)
def test_other_workers_after_the_stop_change_no_bit(kind: str, before: str, after: str, matrix: Matrix) -> None:
    matrix.check(kind, before, "mid-epoch", after)


SHARED = torch.Generator()
UNKEYED: dict[str, tuple[str, Callable[..., Any]]] = {
    "shuffle": ("datamodules.loading.permutation", lambda n, **_: torch.randperm(n, generator=SHARED)),
    "images": ("datamodules.sources.per_image.generator", lambda *_: SHARED),
    "mixing": ("datamodules.base.generator", lambda *_: SHARED),
    "dropping": ("datamodules.base.ImageDataModule._seed_device", lambda *_: None),
}
"""What a stock trainer draws from: a generator that is seeded when a process starts, and never again."""


class Unkeyed(Matrix):
    """Each start seeds the generator anew."""

    def train(self, kind: str, workers: str, runs: Path) -> Path:
        SHARED.manual_seed(0)
        return super().train(kind, workers, runs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(UNKEYED))
def test_control_without_keys_the_bits_differ(
    kind: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*UNKEYED[kind])
    with pytest.raises(AssertionError, match="state_dict"):
        Unkeyed(photos, tmp_path).check(kind, "0", "mid-epoch", "0")
