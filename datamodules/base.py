"""What every data set shares: splits -> loaders -> the device step, with all randomness keyed.

A data set is a subclass with a few class attributes and `sources`; see `digits.py` for a whole one. What a
run wants of it (batch size, validation cut, recipe, preprocessing) comes by `configure`, so that a subclass
never repeats it.

Images are 8-bit; what they are labelled with, see `targets.py`.
"""

import itertools
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

from datamodules import splits
from datamodules.batch import Operation, build_recipe
from datamodules.image import build_image_recipe, is_per_image
from datamodules.loading import (
    WORKER_TIMEOUT,
    EvaluationBatches,
    Padded,
    TrainBatches,
    batch_loader,
    refuse_small_shared_memory,
    workers_here,
)
from datamodules.randomness import generator, key, permutation
from datamodules.sources.arrays import ArraySource
from datamodules.sources.per_image import PerImage, changed
from datamodules.sources.source import Source
from datamodules.targets import are_masks, text
from datamodules.transforms import fit_masks, fit_to, normalise
from datamodules.views import VIEWS_OF_FITTED
from settings.errors import UserError
from settings.preprocessing import Preprocessing

# Two pieces of Lightning's advice that are wrong here: arrays are gathered faster than workers can send
# them, and the samplers do start in mid-epoch.
warnings.filterwarnings("ignore", message=".*does not have many workers.*")
warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")

Batch = tuple[torch.Tensor, torch.Tensor]

FITTED_AT_MOST = 2**27
"""Bytes of a split in memory that is brought to the net's size as a whole: once in a run, not in every epoch."""


class ImageDataModule(lightning.LightningDataModule):
    """Turn a subclass's `sources` into stratified splits, loaders and normalised batches.

    Loaders give images uint8 ``(B, C, H, W)``, at the data's own size or at the net's, and targets int64 ``(B,)``;
    `on_after_batch_transfer` makes them float32 ``(B, channels, image_size, image_size)`` on the device.

    Class attributes of a subclass:
        class_names: one name a class, in the order of the targets.
        channels, image_size: of the stored images.
        mean, std: of the training images, in [0, 1], one number a channel.

    Args:
        root: the folder that holds this data set's files, where a user names one.
        data_dir: the folder that holds all data sets; a data set looks in it, and downloads into it.
    """

    task: ClassVar[str] = "classification"
    """What is learnt where `task` chooses nothing else."""
    targets: ClassVar[tuple[str, ...]] = ("labels",)
    """What it can be learnt from; `target` is the one that `sources` gives."""
    in_memory: ClassVar[bool] = True
    """Whether the images are arrays, which need no worker; else they are files, decoded to size in the workers."""
    for_scoring: bool = False
    """Set before `prepare_data` where other data than a run's own are scored, which need no training images."""
    class_names: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __init__(self, *, root: Path | None = None, data_dir: Path = Path("data")) -> None:
        super().__init__()
        self.root = root
        self.data_dir = data_dir
        self.target = self.targets[0]
        self.configure()

    def prepare_data(self) -> None:
        """Put the files on disk, or raise UserError with what to do; runs in one process only."""

    def sources(self) -> Mapping[str, Source]:
        """Return "train", and where the data has them "val" and "test" (never trained on)."""
        raise NotImplementedError(f"{type(self).__name__} must say where its images come from")

    def configure(
        self,
        *,
        seed: int = 0,
        batch_size: int = 128,
        num_workers: int | None = 0,
        persistent_workers: bool = True,
        worker_timeout: int = WORKER_TIMEOUT,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        fraction: float = 1.0,
        per_class: int | None = None,
        test_images: int | None = None,
        test_views: Literal["centre", "flip", "flip_shift"] = "centre",
        overfit_batches: int = 0,
        balance: Literal["none", "oversample"] = "none",
        preprocessing: Preprocessing | None = None,
        recipe: Mapping[str, Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Say what a run wants of the data.

        Args:
            seed: of order, augmentation and dropout; never of the splits.
            batch_size: images per optimiser step, over all processes and accumulation steps.
            num_workers: processes that decode files and apply per-image operations; ignored (with a warning) where
                there are none of either. None: as many as this machine has cores for.
            persistent_workers: whether they stay between epochs.
            worker_timeout: seconds without a batch after which those processes are given up.
            val_fraction: share of each class of the training images that is held out for validation.
            split_seed: of the validation cut and of the subset.
            fraction: share of the remaining training images to keep.
            per_class: number of training images of each class to keep.
            test_images: number of test images to score, over the classes as they are; None: all of them.
            test_views: of each image when a trainer tests, see `views.py`: those that need no more than what the net
                reads.
            overfit_batches: learn this many batches by heart; validation then reads the same images.
            balance: "oversample" draws each class equally often in an epoch, which stays as long as it was.
            preprocessing: None means the data's own size and statistics.
            recipe: augmentation of training batches, operation -> arguments, in order; None in it leaves it
                out.
        """
        self.seed = seed
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.persistent_workers = persistent_workers
        self.worker_timeout = worker_timeout
        self.val_fraction = val_fraction
        self.split_seed = split_seed
        self.fraction = fraction
        self.per_class = per_class
        self.test_images = test_images
        self.test_views = test_views
        self.overfit_batches = overfit_batches
        self.balance = balance
        self.preprocessing = preprocessing
        lines = {name: given for name, given in (recipe or {}).items() if given is not None}
        of_batches = {name: given for name, given in lines.items() if not is_per_image(name)}
        self.recipe: list[Operation] = []
        if of_batches:
            self.recipe = build_recipe(of_batches, num_classes=len(self.class_names), attention=self._attention)
        self.image_recipe = build_image_recipe(lines)
        self.operations = list(lines)
        self.splits: dict[str, Source] = {}
        self._fitted: dict[str, Source] = {}
        self.features: dict[str, TensorDataset] = {}
        """Split -> what loaders give in place of images: what a frozen net has made of them, and their targets."""
        self._fingerprint = ""

    def setup(self, stage: str | None = None) -> None:
        """Read the data and cut the splits, once; the stage makes no difference to data in memory."""
        if self.splits:
            return
        if self.num_workers and self.in_memory and not self.image_recipe:
            warnings.warn(
                f"data.num_workers={self.num_workers} is ignored: {type(self).__name__} lies in memory",
                stacklevel=2,
            )
        sources = self.sources()
        self._fingerprint = "-".join(source.fingerprint()[:16] for source in sources.values())
        self.splits = self._cut(sources)

    def bad_file_count(self) -> int:
        """Return how many files could not be read so far; arrays have none."""
        return 0

    def bad_files(self) -> dict[str, str]:
        """Return file -> why it could not be read."""
        return {}

    def refuse_too_many_bad_files(self, bad: Mapping[str, str]) -> None:
        """Raise TooManyBadFiles where a user allows fewer."""

    def fingerprint(self) -> str:
        """Return a hash of all images, labels and keys of the data set, whatever was cut or left out."""
        self.setup()
        return self._fingerprint

    def class_counts(self) -> list[int]:
        """Return the number of training images of each class, whatever `balance` draws of them.

        Of an image with several classes the rarest one counts; see `targets.strata`.
        """
        self.setup()
        classes = len(self.class_names)
        return self.splits["train"].strata.bincount(minlength=classes)[:classes].tolist()

    def split_table(self) -> Iterable[tuple[str, str, str]]:
        """Yield (file key, class names, split) of every image in use."""
        self.setup()
        for split, source in self.splits.items():
            for name, target in zip(source.keys, source.targets, strict=True):
                yield name, text(target, self.class_names), split

    def train_dataloader(self) -> DataLoader:
        """Return the keyed loader: where the trainer stands, or without one epoch after epoch."""
        self.setup()
        rank, world, accumulation = self._processes()
        local = self._local_batch_size()
        images = len(self.splits["train"])
        features = self.features.get("train")
        if images < world:
            raise UserError(f"{images} training images are not enough for trainer.devices: {world} processes")
        epochs = itertools.count()

        def position() -> tuple[int, int]:
            return self._trainer_position() or (next(epochs), 0)

        batches = TrainBatches(
            size=images,
            batch_size=local * world * accumulation,
            accumulation=accumulation,
            rank=rank,
            world=world,
            seed=self.seed,
            with_epoch=features is None and (not self.in_memory or bool(self.image_recipe)),
            position=position,
            balanced=self.splits["train"].strata if self.balance == "oversample" else None,
        )
        reader = self._training_reader() if features is None else features
        workers = self._workers() if batches.with_epoch else 0
        return self._with_workers(reader, batches, workers)

    def val_dataloader(self) -> DataLoader:
        """Return the validation images in order."""
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        """Return the test images in order."""
        return self._evaluation_loader("test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Make a device batch ready for the net: sized, augmented if training, float32 and normalised.

        With `test_views` a test batch is ``(B, V, C, H, W)``, the image as it is in front.
        """
        if self.trainer is None or not self.trainer.training:
            if self.test_views != "centre" and self.trainer is not None and self.trainer.testing:
                return self._test_batch(batch)
            return batch if _are_features(batch) else self.evaluation_batch(batch)
        # Counts batches, inside accumulation windows too; global_step stands still there.
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress
        step = progress.total.processed
        rank = self._processes()[0]
        self._seed_device(step, rank)
        return batch if _are_features(batch) else self.train_batch(batch, step=step, rank=rank)

    def evaluation_batch(self, batch: Batch) -> Batch:
        """Return uint8 ``(B, C, H, W)`` images as the net reads them; nothing random."""
        images, targets = self.fit_batch(batch)
        return normalise(images, self.effective_preprocessing), targets

    def _test_batch(self, batch: Batch) -> Batch:
        images, targets = self.fit_batch(batch)
        views = VIEWS_OF_FITTED[self.test_views](images).flatten(0, 1)
        normalised = normalise(views, self.effective_preprocessing)
        return normalised.unflatten(0, (len(targets), -1)), targets

    def train_batch(self, batch: Batch, *, step: int, rank: int = 0) -> Batch:
        """Return the batch as the net reads it at ``step``, by (seed, step, rank) alone."""
        images, targets = self.augmented_batch(batch, step=step, rank=rank)
        return normalise(images, self.effective_preprocessing), targets

    def augmented_batch(self, batch: Batch, *, step: int, rank: int = 0) -> Batch:
        """Return what `train_batch` normalises: uint8 images, and targets, shares of the classes if mixed."""
        images, targets = self.fit_batch(batch)
        return self._augmented(images, targets, generator(self.seed, "recipe", step, rank))

    def _augmented(
        self, images: torch.Tensor, targets: torch.Tensor, draws: torch.Generator, *, without_net: bool = False
    ) -> Batch:
        """Apply the recipe, perhaps without what asks the net; masks move with their images."""
        if not self.recipe:
            return images, targets
        masks = None
        if are_masks(targets):  # an image has no label then, but operations that mix want one
            masks, targets = targets, torch.zeros(len(images), dtype=torch.int64, device=images.device)
        for operation in self.recipe:
            if not (without_net and getattr(operation, "asks_net", False)):
                images, targets, masks = operation(images, targets, generator=draws, masks=masks)
        return images, targets if masks is None else masks

    def try_recipe(self) -> None:
        """Put two images of noise through the recipe: what does not fit their size is told before a run begins.

        Raises:
            UserError: a line wants larger images, or gives others than it should.
        """
        how, draws = self.effective_preprocessing, generator(self.seed, "trial")
        channels, size = (self.channels, self.image_size) if self.in_memory else (how.channels, how.image_size)
        image = torch.randint(256, (channels, size, size), dtype=torch.uint8, generator=draws)
        try:
            changed(image, self.image_recipe, size=size, interpolation=how.interpolation, draws=draws)
        except UserError:
            raise
        except Exception as error:  # another library's own kinds
            raise UserError(f"augment: {' '.join(str(error).split())}") from error
        images = torch.randint(
            256, (2, how.channels, how.image_size, how.image_size), dtype=torch.uint8, generator=draws
        )
        targets = {
            "labels": torch.zeros(2, dtype=torch.int64),
            "multilabels": torch.zeros(2, len(self.class_names)),
            "masks": torch.zeros(2, how.image_size, how.image_size, dtype=torch.int64),
        }[self.target]
        self._augmented(images, targets, draws, without_net=True)

    def try_workers(self, *, processes: int, accumulation: int) -> None:
        """Say before a run begins that shared memory is too small for what its workers hand over.

        Args:
            processes: of the run; each has workers of its own.
            accumulation: batches of one process per optimiser step.

        Raises:
            UserError: names what would fit.
        """
        if self.in_memory and not self.image_recipe:
            return
        shape = (self.channels, self.image_size, self.image_size) if self.in_memory else self._net_shape
        images, parts = len(self.splits["train"]), processes * accumulation
        refuse_small_shared_memory(
            workers=workers_here(processes) if self.num_workers is None else self.num_workers,
            batches=max(1, images // self.batch_size) * accumulation,
            batch_bytes=max(1, min(self.batch_size // parts, images // processes)) * math.prod(shape) * processes,
        )

    @property
    def asks_net(self) -> bool:
        """Whether an operation of the recipe has to ask the net that trains."""
        return any(getattr(operation, "asks_net", False) for operation in self.recipe)

    def _attention(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """What the net that trains looks at in uint8 images, float ``(B, h, w)``."""
        task: Any = self.trainer.lightning_module if self.trainer else None
        if task is None:
            raise UserError(
                "augment.adversarial_erasing hides what the net that trains looks at, so it works in training alone; "
                "augment.adversarial_erasing=null leaves it out"
            )
        return task.attention(normalise(images, self.effective_preprocessing), targets)

    def fit(self, images: torch.Tensor) -> torch.Tensor:
        """Bring arrays to the size and channels that the net reads; files have that from their worker."""
        if not self.in_memory or (self._must_fit and tuple(images.shape[1:]) == self._net_shape):
            return images
        return fit_to(images, self.effective_preprocessing)

    def fit_batch(self, batch: Batch) -> Batch:
        """Bring images to the size and channels that the net reads, and their masks to int64 of that size."""
        images, targets = batch
        if are_masks(targets):
            if self.in_memory and self._must_fit:
                targets = fit_masks(targets, self.effective_preprocessing)
            targets = targets.long()
        return self.fit(images), targets

    def augmentation_draws(self, *, images: int, draws: int) -> tuple[list[Batch], list[str]]:
        """Draw the augmentation of a few training images, to be looked at.

        Args:
            images: how many, spread over the training images.
            draws: how often each is augmented, with the keys of the first steps, and epochs where it is per image.

        Returns:
            The images as they are evaluated, then one batch a draw, all uint8 ``(images, C, H, W)`` before
            normalisation, with their targets; and the names of the operations, none where nothing is random.
        """
        self.setup()
        count = len(self.splits["train"])
        chosen = torch.linspace(0, count - 1, min(images, count)).round().long()
        return self.drawn_batches(chosen, draws=draws), self.operations

    def first_images(self, count: int) -> torch.Tensor:
        """Return the places of the training images that a run of this seed sees first, int64."""
        return permutation(len(self.splits["train"]), seed=self.seed, epoch=0)[:count]

    def drawn_batches(self, chosen: torch.Tensor, *, draws: int) -> list[Batch]:
        """Return the training images at ``chosen`` as they are evaluated, then once a draw, before normalisation."""
        drawn = [self.drawn_batch(chosen, epoch=step, step=step) for step in range(draws)]
        return [self.plain_batch("train", chosen), *drawn]

    def plain_batch(self, split: str, chosen: torch.Tensor) -> Batch:
        """Return the images of a split at ``chosen`` as they are evaluated, before normalisation."""
        return self.fit_batch(self._evaluation_reader(split)[chosen])

    def training_images(self) -> Iterator[torch.Tensor]:
        """Yield all training images as they are evaluated, float32 normalised, in batches."""
        self.setup()
        for chosen in torch.arange(len(self.splits["train"])).split(256):
            yield normalise(self.plain_batch("train", chosen)[0], self.effective_preprocessing)

    def drawn_batch(self, chosen: torch.Tensor, *, epoch: int, step: int) -> Batch:
        """Return the training images at ``chosen`` with the draws of an epoch and a step, before normalisation."""
        reader = self._training_reader()
        batch = reader[(epoch, chosen)] if isinstance(reader, PerImage) else reader[chosen]
        return self.augmented_batch(batch, step=step)

    def _training_reader(self) -> Any:
        """What makes training batches: the arrays, or what workers do to each image."""
        if self.in_memory and not self.image_recipe:
            return self._arrays("train")
        fit = None if self.in_memory else self.effective_preprocessing
        return PerImage(self.splits["train"], fit=fit, operations=self.image_recipe, seed=self.seed)

    def _evaluation_reader(self, split: str) -> Any:
        """What makes batches in which nothing is random."""
        if self.in_memory:
            # What scores a trained net may change the images first, at their own size.
            again_and_again = split == "val" and self.trainer is not None
            return self._arrays(split) if again_and_again else self.splits[split]
        return PerImage(self.splits[split], fit=self.effective_preprocessing)

    def _arrays(self, split: str) -> Source:
        """The arrays of a split, brought to the net's size once where they stay small; else each batch is, by `fit`."""
        source = self.splits[split]
        if not (isinstance(source, ArraySource) and self._must_fit) or are_masks(source.targets):
            return source
        if len(source) * math.prod(self._net_shape) > FITTED_AT_MOST:
            return source
        if split not in self._fitted:
            images = torch.cat([fit_to(part, self.effective_preprocessing) for part in source.images.split(1024)])
            self._fitted[split] = ArraySource(images, source.targets, source.keys, strata=source.strata)
        return self._fitted[split]

    @property
    def _net_shape(self) -> tuple[int, int, int]:
        how = self.effective_preprocessing
        return how.channels, how.image_size, how.image_size

    @property
    def _must_fit(self) -> bool:
        return self._net_shape != (self.channels, self.image_size, self.image_size)

    @property
    def effective_preprocessing(self) -> Preprocessing:
        """What `configure` was given, else the data's own size and statistics."""
        if self.preprocessing is None:
            self.preprocessing = Preprocessing(
                image_size=self.image_size,
                resize=self.image_size,
                interpolation="bilinear",
                channels=self.channels,
                mean=self.mean,
                std=self.std,
            )
        return self.preprocessing

    def _seed_device(self, step: int, rank: int) -> None:
        # For dropout and whatever else the net draws. `torch.manual_seed` costs ten times as much.
        number = key(self.seed, "step", step, rank)
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_initialized():  # `is_available` costs a fifth of a millisecond
            torch.cuda.manual_seed(number)

    def _cut(self, sources: Mapping[str, Source]) -> dict[str, Source]:
        if self.for_scoring and "train" not in sources:
            return dict(sources)
        train = sources["train"]
        if "val" in sources:
            val = sources["val"]
        else:
            held_out = splits.assign(train.keys, train.strata, self.val_fraction, self.split_seed)
            train, val = train.subset((~held_out).nonzero()[:, 0]), train.subset(held_out.nonzero()[:, 0])
        before = len(train)
        if self.fraction < 1 or self.per_class is not None:
            kept = splits.subset(
                train.keys,
                train.strata,
                fraction=self.fraction,
                per_class=self.per_class,
                split_seed=self.split_seed,
                class_names=self.class_names,
            )
            train = train.subset(kept.nonzero()[:, 0])
        if self.overfit_batches:
            order = splits.hash_order(train.keys, "overfit", self.split_seed)
            train = train.subset(order[: self.overfit_batches * self.batch_size])
            val = train
        cut = {"train": train, "val": val}
        if (test := sources.get("test")) is not None:
            if self.test_images is not None:
                test = test.subset(splits.sample(test.keys, test.strata, self.test_images, self.split_seed))
            cut["test"] = test
        for split, source in cut.items():
            if not len(source):
                counts = ", ".join(f"{name} {len(images)}" for name, images in cut.items())
                raise UserError(
                    f"no image is left for {split} ({counts}; training images before the subset: {before}): "
                    f"see data.val_fraction={self.val_fraction} and data.fraction={self.fraction}"
                )
        return cut

    def _evaluation_loader(self, split: str) -> DataLoader:
        self.setup()
        if split not in self.splits:
            raise UserError(f"{type(self).__name__} has no {split} images; it has {', '.join(self.splits)}")
        rank, world, _ = self._processes()
        batches = EvaluationBatches(
            size=len(self.splits[split]), local_batch_size=self._local_batch_size(), rank=rank, world=world
        )
        if split in self.features:
            return batch_loader(self.features[split], batches)
        workers = 0 if self.in_memory else self._workers()
        reader = self._evaluation_reader(split)
        reader = Padded(reader) if world > 1 else reader
        return self._with_workers(reader, batches, workers)

    def _workers(self) -> int:
        return workers_here(self._processes()[1]) if self.num_workers is None else self.num_workers

    def _with_workers(self, reader: Any, batches: Any, workers: int) -> DataLoader:
        return batch_loader(
            reader,
            batches,
            workers=workers,
            persistent=self.persistent_workers,
            worker_timeout=self.worker_timeout,
        )

    def images_in_order(self, split: str) -> Iterator[Batch]:
        """Yield all images of a split as loaders give them for evaluation, uint8, with their targets."""
        return iter(self._evaluation_loader(split))

    def _processes(self) -> tuple[int, int, int]:
        """Return (rank, number of processes, accumulation steps)."""
        if self.trainer is None:
            return 0, 1, 1
        return self.trainer.global_rank, self.trainer.world_size, self.trainer.accumulate_grad_batches

    def _local_batch_size(self) -> int:
        _, world, accumulation = self._processes()
        local, rest = divmod(self.batch_size, world * accumulation)
        if rest or not local:
            raise UserError(
                f"data.batch_size={self.batch_size} does not divide by {world} processes x "
                f"trainer.accumulate_grad_batches={accumulation}; it is the global batch size, "
                f"so take a multiple of {world * accumulation}"
            )
        return local

    def _trainer_position(self) -> tuple[int, int] | None:
        """Return (epoch, batches of it that are done), or None where no trainer is training.

        Right both while Lightning sets the first loader up, just after it restored its counters, and at
        each epoch's first batch. It counts what was processed: `current_epoch` lags behind after a
        checkpoint from an epoch's end, and `ready` runs ahead after one from inside a step.
        """
        if self.trainer is None or not self.trainer.training:
            return None
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress
        if not batches.is_last_batch:
            return epochs.processed, batches.current.processed
        # The checkpoint is from an epoch's last batch: from before or after the epoch was counted.
        return epochs.processed + (epochs.ready > epochs.processed), 0


def _are_features(batch: Batch) -> bool:
    """Whether a batch holds a frozen net's features in place of 8-bit images."""
    return batch[0].is_floating_point()
