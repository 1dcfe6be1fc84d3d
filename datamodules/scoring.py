"""Images on their way to be scored: whole batches in order, prepared in as many ways as there are nets and views."""

import copy
import hashlib
import itertools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from datamodules.distortions import Condition, conditions
from datamodules.loading import batch_loader, workers_here
from datamodules.randomness import generator
from datamodules.sources.pictures import BrokenImage
from datamodules.sources.source import Source
from datamodules.splits import subset
from datamodules.targets import IGNORE, PADDING, are_masks
from datamodules.views import cut_views
from settings.errors import UserError, nearest
from settings.paths import nfc
from settings.preprocessing import Preprocessing

Prepare = Callable[[torch.Tensor], torch.Tensor]
"""uint8 ``(B, C, H, W)`` -> uint8 ``(B, V, channels, size, size)``."""


@dataclass(frozen=True, kw_only=True)
class PreparedBatch:
    """Views by the name of their preparation, uint8 ``(B, V, C, S, S)`` on the device, and which images they are."""

    views: dict[str, torch.Tensor]
    indices: torch.Tensor


class PreparedImages:
    """Decode and prepare a batch of files, one after another: their sizes differ. Runs in a loader's workers.

    Gives the views of the files that can be read, and the places of these in the batch.
    """

    def __init__(self, source: Source, prepare: Mapping[str, Prepare], channels: int) -> None:
        self.source = source
        self.prepare = dict(prepare)
        self.channels = channels

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, indices: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        images, read = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of files that it reads all the same
            for place, index in enumerate(indices.tolist()):
                try:
                    images.append(self.source.image(index, self.channels)[None])
                    read.append(place)
                except BrokenImage:  # the source remembers it
                    continue
        views = {name: torch.cat([cut(image) for image in images]) for name, cut in self.prepare.items() if images}
        return views, torch.tensor(read, dtype=torch.int64)


class ScoredNames:
    """Which images are scored; told apart from those that a run was trained on.

    Args:
        keys: of the images.
        paths: where they lie; their keys where they are arrays.
        in_memory: whether they are arrays.
    """

    def __init__(self, *, keys: list[str], paths: list[str], in_memory: bool) -> None:
        self.keys = keys
        self.paths = paths
        self.in_memory = in_memory

    def __len__(self) -> int:
        return len(self.keys)

    def found_in(self, trained: Sequence[str], *, folder: Path | None, same_data: bool) -> list[int]:
        """Return the indices of the images that another run trained on.

        Args:
            trained: keys of its training images.
            folder: what they are relative to, where they are files.
            same_data: whether its keys are those of the same data set; else files are compared by their content, and
                arrays not at all.
        """
        if same_data:
            keys = set(map(nfc, trained))
            return [index for index, key in enumerate(self.keys) if nfc(key) in keys]
        if self.in_memory or folder is None:
            return []
        own: dict[int, list[int]] = {}
        for index, path in enumerate(self.paths):
            own.setdefault(_size(Path(path)), []).append(index)
        theirs = {_digest(path) for path in (folder / key for key in trained) if _size(path) in own}
        sizes = {_size(path) for path in (folder / key for key in trained)} if theirs else set()
        alike = [index for size in sizes & set(own) for index in own[size]]
        return sorted(index for index in alike if _digest(Path(self.paths[index])) in theirs)


class ScoredImages(ScoredNames):
    """The images of one or several splits, one after the other, with targets in a net's own numbering.

    Args:
        data: a data module that is set up.
        splits: their names.
        places: for each class of the data its place among the net's classes; images of a class without one are left
            out.
        channels: that files are read with; arrays come as they are stored.
        workers: processes that read files; None: as many as this machine has cores for.

    Raises:
        UserError: the data have no such split, or no image is left.
    """

    def __init__(
        self, data: Any, splits: Sequence[str], *, places: Sequence[int | None], channels: int, workers: int | None
    ) -> None:
        refuse_missing(data, splits)
        super().__init__(keys=[], paths=[], in_memory=data.in_memory)
        self._data = data
        self.places = list(places)
        self.channels = channels
        self.workers = workers
        self.splits: list[str] = []
        self.left_out = 0
        self._parts: list[tuple[Any, torch.Tensor]] = []
        targets = []
        mapped = torch.tensor([-1 if place is None else place for place in places])
        for split in splits:
            source = data.splits[split]
            kept = (mapped[source.targets] >= 0).nonzero()[:, 0]
            self.left_out += len(source) - len(kept)
            self._parts.append((source, kept))
            targets.append(mapped[source.targets[kept]])
            keys = [source.keys[index] for index in kept.tolist()]
            self.keys += keys
            self.paths += _paths(source, keys)
            self.splits += [split] * len(keys)
        self.targets = torch.cat(targets)
        """int64 ``(N,)``."""
        if not self.keys:
            raise UserError(f"split={','.join(splits)}: no image is left")

    @staticmethod
    def cutting(
        *, views: str, preprocessing: Preprocessing, crop_fraction: float | None, scales: Sequence[float]
    ) -> Prepare:
        """What cuts the views of a batch as a net reads them, see `cut_views`."""
        return partial(cut_views, name=views, preprocessing=preprocessing, crop_fraction=crop_fraction, scales=scales)

    @staticmethod
    def conditions(**wanted: Any) -> list[Condition]:
        """What is done to images to see how far accuracy falls, see `distortions.conditions`."""
        return conditions(**wanted)

    def part(self, count: int) -> torch.Tensor:
        """About so many images over the classes as they are, int64 indices; 0 means all."""
        share = min(1.0, count / len(self)) if count else 1.0
        return subset(self.keys, self.targets, fraction=share).nonzero()[:, 0]

    @staticmethod
    def starts(keys: Sequence[str], shape: Sequence[int], *, seed: int) -> torch.Tensor:
        """Where an attack starts at each image, uniform in 0 to 1, ``(B, *shape)``: by seed and key alone."""
        return torch.stack([torch.rand(tuple(shape), generator=generator(seed, "attack", key)) for key in keys])

    def batches(
        self,
        prepare: Mapping[str, Prepare],
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        chosen: torch.Tensor | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> Iterator[PreparedBatch]:
        """Yield the batches of one process, each image once but for files that cannot be read.

        Processes take turns at whole batches, so that what stands in a batch, and with it every rounding, does not
        depend on their number.

        Args:
            prepare: what is done to each image, by a name.
            batch_size: images at once.
            device: of the views; arrays are prepared on it, files in the workers.
            chosen: int64 indices of the images in ascending order, None for all.
            rank: this process.
            world: number of processes.
        """
        start = turn = 0
        for source, kept in self._parts:
            own = (
                torch.arange(len(kept)) if chosen is None else chosen[(chosen >= start) & (chosen < start + len(kept))]
            )
            own = own if chosen is None else own - start
            batches = list(own.split(batch_size)) if len(own) else []
            mine = [batch for number, batch in enumerate(batches, turn) if number % world == rank]
            turn += len(batches)
            for places, views in self._read(source, kept, mine, prepare, device):
                yield PreparedBatch(views=views, indices=places + start)
            start += len(kept)

    def _read(
        self,
        source: Any,
        kept: torch.Tensor,
        batches: list[torch.Tensor],
        prepare: Mapping[str, Prepare],
        device: torch.device | str,
    ) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        if self.in_memory:
            for places in batches:
                images = source[kept[places]][0].to(device)
                yield places, {name: cut(images) for name, cut in prepare.items()}
            return
        reader = PreparedImages(source, prepare, self.channels)
        wanted: Any = [kept[places] for places in batches]
        for places, (views, read) in zip(batches, self._loaded(reader, wanted), strict=True):
            if views:
                yield places[read], {name: images.to(device, non_blocking=True) for name, images in views.items()}

    def _loaded(self, reader: PreparedImages, wanted: Any) -> Any:
        workers = min(workers_here() if self.workers is None else self.workers, len(wanted))
        return batch_loader(reader, wanted, workers=workers, worker_timeout=self._data.worker_timeout)

    def only(self, indices: torch.Tensor) -> "ScoredImages":
        """Return the images at ``indices``, int64 in ascending order: those whose files could be read.

        Raises:
            TooManyBadFiles: more cannot be read than `data.max_bad_files` allows.
            UserError: none can be read.
        """
        self._data.refuse_too_many_bad_files(self._data.bad_files())
        if not len(indices):
            raise UserError(f"none of the {len(self)} images can be read")
        rest = copy.copy(self)
        chosen = indices.tolist()
        rest.keys, rest.paths, rest.splits = (
            [names[one] for one in chosen] for names in (self.keys, self.paths, self.splits)
        )
        rest.targets = self.targets[indices]
        rest._parts, start = [], 0
        for source, kept in self._parts:
            inside = indices[(indices >= start) & (indices < start + len(kept))] - start
            rest._parts.append((source, kept[inside]))
            start += len(kept)
        return rest

    def pictures(self, prepare: Prepare, indices: Sequence[int]) -> torch.Tensor:
        """Return the first view of the images at ``indices``, in that order, uint8 ``(N, channels, S, S)``."""
        wanted = torch.tensor(sorted(set(indices)))
        found: dict[int, torch.Tensor] = {}
        for batch in self.batches({"": prepare}, batch_size=256, chosen=wanted):
            found.update(zip(batch.indices.tolist(), batch.views[""][:, 0], strict=True))
        return torch.stack([found[index] for index in indices])


def scored_images(data: Any, split: str, *, known: Sequence[str], channels: int, skip: bool) -> ScoredImages:
    """Map the data's classes to a net's by name, and take the images of a split.

    Args:
        data: a data module that is set up.
        split: its name, or `all`.
        known: the classes of the net.
        channels: that files are read with.
        skip: leave images of other classes out.

    Raises:
        UserError: the data lack the split, or have classes that the net does not know.
    """
    places = map_classes(data.class_names, known)
    refuse_strangers(data.class_names, places, known, skip=skip)
    splits = list(data.splits) if split == "all" else [split]
    return ScoredImages(data, splits, places=places, channels=channels, workers=data.num_workers)


def refuse_strangers(found: Sequence[str], places: Sequence[int | None], known: Sequence[str], *, skip: bool) -> None:
    """Raise UserError where the data have classes without a place among the net's, which `skip` permits for some."""
    strangers = [name for name, place in zip(found, places, strict=True) if place is None]
    if not strangers or (skip and len(strangers) < len(places)):
        return
    shown = [f"{name!r}" + (f" (nearest: {close[0]})" if (close := nearest(name, known)) else "") for name in strangers]
    raise UserError(
        f"the data have {len(strangers)} classes that the net does not know: {', '.join(shown[:6])}",
        f"it knows {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}",
        *(["unknown=skip leaves their images out"] if len(strangers) < len(places) else []),
    )


def refuse_missing(data: Any, splits: Sequence[str]) -> None:
    """Raise UserError where the data lack one of the splits."""
    if lacking := [split for split in splits if split not in data.splits]:
        raise UserError(f"split={lacking[0]}: there are no such images; there is {', '.join(data.splits)}, all")


def take_split(data: Any, split: str, *, known: Sequence[str], skip: bool) -> tuple[ScoredNames, dict[str, Any]]:
    """Make a split, or `all`, the test images of a data module, its targets in a net's own numbering.

    Args:
        data: a data module that is set up.
        split: its name.
        known: the classes of the net, which the data's are mapped to by name.
        skip: leave other classes out: images of such a label, such labels of a set, such pixels of a mask.

    Returns:
        Which images these are, and what to say of the classes.

    Raises:
        UserError: the data lack the split, or have classes that the net does not know.
    """
    places = map_classes(data.class_names, known)
    refuse_strangers(data.class_names, places, known, skip=skip)
    splits = list(data.splits) if split == "all" else [split]
    refuse_missing(data, splits)
    sources = [renumbered(data.splits[name], places, len(known)) for name in splits]
    whole = sources[0] if len(sources) == 1 else JoinedSource(sources)
    if not len(whole):
        raise UserError(f"split={split}: no image is left")
    paths = [path for source in sources for path in _paths(source, list(source.keys))]
    facts = {
        "classes_of_the_data": {
            name: None if place is None else known[place] for name, place in zip(data.class_names, places, strict=True)
        },
        "left_out_images": sum(len(data.splits[name]) for name in splits) - len(whole),
    }
    data.splits["test"] = whole
    return ScoredNames(keys=list(whole.keys), paths=paths, in_memory=data.in_memory), facts


def renumbered(source: Source, places: Sequence[int | None], count: int) -> Source:
    """Return a source whose targets are numbered anew, each class by its place; what has none counts nowhere.

    Args:
        source: images with labels, label sets or masks.
        places: for each of its classes the new number.
        count: of the new classes.
    """
    targets = source.targets
    if targets.ndim == 2:  # label sets
        moved = torch.zeros(len(targets), count, dtype=targets.dtype)
        for column, place in enumerate(places):
            if place is not None:
                moved[:, place] = targets[:, column]
    elif are_masks(targets):
        table = torch.full((256,), IGNORE, dtype=torch.uint8)
        table[: len(places)] = torch.tensor([IGNORE if place is None else place for place in places])
        moved = table[targets.long()]
    else:
        table = torch.tensor([PADDING if place is None else place for place in places])
        kept = (table[targets] != PADDING).nonzero()[:, 0]
        source = source if len(kept) == len(targets) else source.subset(kept)
        moved = table[source.targets]
    changed = copy.copy(source)
    changed.targets = moved
    return changed


class JoinedSource:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = list(sources)
        self.targets = torch.cat([one.targets for one in sources])
        self.keys = [key for one in sources for key in one.keys]
        self._place = [(one, index) for one in sources for index in range(len(one))]

    @property
    def strata(self) -> torch.Tensor:
        """One class an image, int64 ``(N,)``."""
        return torch.cat([one.strata for one in self._sources])

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return arrays uint8 ``(B, C, H, W)`` and their targets."""
        return torch.stack([self.image(index, 0) for index in indices.tolist()]), self.targets[indices]

    def image(self, index: int, channels: int) -> torch.Tensor:
        """Return one image, uint8 ``(C, H, W)``."""
        source, inside = self._place[index]
        return source.image(inside, channels)

    def subset(self, indices: torch.Tensor) -> "JoinedSource":
        """Return a source of the images at ``indices`` (int64), in ascending order."""
        starts = torch.tensor([0, *(len(one) for one in self._sources)]).cumsum(dim=0).tolist()
        parts = [indices[(indices >= low) & (indices < high)] - low for low, high in itertools.pairwise(starts)]
        return JoinedSource([one.subset(part) for one, part in zip(self._sources, parts, strict=True)])

    def fingerprint(self) -> str:
        """Return a hash that changes when one of the sources does."""
        return "-".join(one.fingerprint() for one in self._sources)


def _paths(source: Any, keys: list[str]) -> list[str]:
    """Where files lie; arrays are called by their keys."""
    folder: Path | None = getattr(source, "folder", None)
    return keys if folder is None else [str(folder / key) for key in keys]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1  # gone since: nothing has this size


def _digest(path: Path) -> bytes:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).digest()


def map_classes(found: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """Return for each class of the data its place among those that a net knows, by name; None where it has none.

    A name is itself first, in either Unicode form; else capital letters and what is neither letter nor digit make no
    difference, so that the folder `t-shirt_top` is the class "T-shirt/top", where that is clear.
    """
    found, known = [nfc(name) for name in found], [nfc(name) for name in known]
    loose: dict[str, list[int]] = {}
    for place, name in enumerate(known):
        loose.setdefault(_loose(name), []).append(place)
    taken = {name for name in found if name in set(known)}
    places: list[int | None] = []
    for name in found:
        if name in taken:
            places.append(known.index(name))
            continue
        close = [place for place in loose.get(_loose(name), []) if known[place] not in taken]
        places.append(close[0] if len(close) == 1 else None)
    repeated = {place for place in places if place is not None and places.count(place) > 1}
    return [None if place in repeated else place for place in places]


def _loose(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip() or name
