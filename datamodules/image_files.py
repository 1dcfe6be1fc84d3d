"""What folders and CSV files of images share: which files are used, in which split, and what is said about it.

Pictures are decoded in the loader's workers, to the size that the net reads; single-label, 8-bit.
"""

import hashlib
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only

from datamodules import splits
from datamodules.base import ImageDataModule
from datamodules.sources.cache import PictureCache
from datamodules.sources.checking import NOT_THERE, Seen, check_files, in_two_splits
from datamodules.sources.files import FileSource
from datamodules.sources.folders import one_class_hint
from datamodules.sources.listing import Listing, alike, label_set, look_alikes, matched, natural, summary
from datamodules.sources.near import near_pairs
from datamodules.sources.packed import PackedStrings
from datamodules.sources.pictures import Refused, check_header
from datamodules.sources.tables import nearest_files
from datamodules.targets import images_of_classes
from datamodules.targets import strata as strata_of
from settings.errors import TooManyBadFiles, UserError
from settings.paths import as_on_disk, nfc
from settings.whole_file import TableWriter

# Of ImageNet's training images, the usual for photos; weights bring their own.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST_SIZE = 224  # of the default; data.image_size goes further
MEASURED = 200  # files whose size is looked at for the default


class ImageFiles(ImageDataModule):
    """Images in files that a subclass lists; splits that are not there are cut.

    Args:
        root: the folder or file that holds the data.
        data_dir: what was found out about the files is remembered below it.
        channels: 3 reads every image as RGB, 1 as grey.
        check: "full" decodes each file before training and finds the same file in two splits, "quick" opens each,
            "off" does not; "auto" is full up to 2 GB, then quick.
        near_duplicates: name pictures of different splits that look alike: whose perceptual hashes differ in at most
            so many of 64 bits (0 finds resized and recompressed copies, 4 brightened ones, too); decodes each file.
        test_fraction: share of each class for test, where the data has no splits; `val_fraction` is the share for
            validation.
        scaled_decode: in training, decode JPEG files at a half, a quarter or an eighth of their sides where that leaves
            twice the pixels that are wanted: phone photos in half the time. Evaluation decodes all pixels.
        cache: folder that keeps decoded pictures, made when they are first read; None keeps none. What evaluation reads
            from it is what it reads from the files.
        cache_side: short side in pixels at which it keeps them for training crops; None is 1.25 times evaluation's.
        max_bad_files: how many files may be unreadable, as a number or, below 1.0, as a share of all: they are skipped;
            with more of them a run ends.
        group_by: regular expression whose group `group`, else first group, names what must stay in one split (a
            patient, a scene), searched in each file's path.
    """

    in_memory = False

    def __init__(
        self,
        *,
        root: Path | None = None,
        data_dir: Path = Path("data"),
        channels: Literal[1, 3] = 3,
        check: Literal["auto", "full", "quick", "off"] = "auto",
        near_duplicates: int | None = None,
        max_bad_files: int | float = 0.2,
        test_fraction: float = 0.15,
        scaled_decode: bool = True,
        cache: Path | None = None,
        cache_side: int | None = None,
        group_by: str | None = None,
    ) -> None:
        super().__init__(root=root, data_dir=data_dir)
        if root is None:
            raise UserError("data.root is needed: where the images are")
        self.folder = as_on_disk(root)
        self.channels = channels
        self.check = check
        self.near_duplicates = near_duplicates
        self.max_bad_files = max_bad_files
        self.test_fraction = test_fraction
        self.scaled_decode = scaled_decode
        self.cache = cache
        self.cache_side = cache_side
        self.group_by = re.compile(group_by) if group_by else None
        mean, std = (MEAN, STD) if channels == 3 else ((sum(MEAN) / 3,), (sum(STD) / 3,))
        self.mean, self.std = mean, std
        self.listing: Listing | None = None
        self._sizes = np.zeros(0, dtype=np.int64)
        self._seen: list[Seen] = []
        self._unreadable: dict[str, str] = {}  # found by the check
        self._count = 0  # of all files that were listed

    def listed(self) -> Listing:
        """List the files; runs once."""
        raise NotImplementedError(f"{type(self).__name__} must list its files")

    def prepare_data(self) -> None:
        """Find and check the files, once; makes the class names and the default size known.

        Raises:
            UserError: there is nothing to train on.
        """
        if self.listing is not None:
            return
        listing = self.listed()
        seen = check_files(
            self.folder,
            listing.keys,
            level=self.check,
            memory=self._checked(".json"),
            looks=self.near_duplicates is not None,
        )
        reasons = [one.reason for one in seen]
        self._unreadable = {key: reason for key, reason in zip(listing.keys, reasons, strict=True) if reason}
        self._count = len(listing.keys)
        supplied = {split for split in listing.splits if split}
        if "train" in supplied and not self.for_scoring:
            self._leave_out_strangers(listing, reasons)
        listing = listing.without(reasons)
        self._seen = [one for one, reason in zip(seen, reasons, strict=True) if reason is None]
        self._sizes = np.array([one.size for one in self._seen], dtype=np.int64)
        self.class_names = tuple(sorted({name for label in listing.labels for name in self._names(label)}, key=natural))
        if len(self.class_names) < (1 if self.for_scoring else 2):
            self.refuse_too_many_bad_files(self._unreadable)
            hint = one_class_hint(listing.keys, self.folder, bool(supplied)) if listing.keys else ""
            raise UserError(
                f"data.root={self.root}: {len(self.class_names)} class with readable images, and a net needs two to "
                f"tell apart; {summary(listing.left_out) or 'nothing was left out'}",
                *([hint] if hint else []),
            )
        if emptied := supplied.difference(listing.splits):
            self.refuse_too_many_bad_files(self._unreadable)
            raise UserError(
                f"data.root={self.root}: no image of {' and '.join(sorted(emptied))} can be used, "
                f"and no other takes its place: {summary(listing.left_out)}"
            )
        if groups := look_alikes(self.class_names):
            listing.notes.append(
                "classes whose names look alike, each a class of its own: "
                + "; ".join(" and ".join(map(repr, group)) for group in groups[:5])
            )
        self.listing = listing
        self.image_size = self._usual_size()

    def _leave_out_strangers(self, listing: Listing, reasons: list[str | None]) -> None:
        """Give a reason to images of classes that train does not have.

        Raises:
            UserError: a class has another spelling in train.
        """
        used: dict[str, set[str]] = {}
        for label, split, reason in zip(listing.labels, listing.splits, reasons, strict=True):
            if reason is None:
                used.setdefault(split or "train", set()).update(self._names(label))
        trained = used.get("train", set())
        spelling = {alike(name): name for name in trained}
        misspelt = [
            f"data.root={self.root}: {split} has the class {name!r} where train has {spelling[alike(name)]!r}; "
            "give them one name"
            for split, names in used.items()
            for name in sorted(names - trained, key=natural)
            if alike(name) in spelling and spelling[alike(name)] not in names
        ]
        if misspelt:
            raise UserError(*misspelt)
        for index, label in enumerate(listing.labels):
            if not trained.issuperset(self._names(label)) and reasons[index] is None:
                reasons[index] = "class that train does not have"

    def sources(self) -> dict[str, FileSource]:
        """Return the splits that there are, those that are cut among them; says what was found."""
        self.prepare_data()
        listing = self.listing
        assert listing is not None
        index = {name: number for number, name in enumerate(self.class_names)}
        if self.target == "multilabels":
            targets = torch.zeros(len(listing.labels), len(index))
            for row, label in enumerate(listing.labels):
                targets[row, [index[name] for name in label_set(label)]] = 1
        else:
            targets = torch.tensor([index[label] for label in listing.labels], dtype=torch.int64)
        strata = strata_of(targets)
        listing.splits = self._all_split(listing, strata)
        source = FileSource(
            folder=self.folder,
            keys=PackedStrings.pack(listing.keys),
            targets=targets,
            strata=strata,
            sizes=self._sizes,
            scaled=self.scaled_decode,
            cache=PictureCache(folder=self.cache, side=self.cache_side) if self.cache else None,
        )
        found = {}
        for split in ("train", "val", "test"):
            members = [number for number, one in enumerate(listing.splits) if one == split]
            if members:
                found[split] = source.subset(torch.tensor(members))
        self._say(listing, found)
        return found

    def _names(self, label: str) -> list[str]:
        """The class names in a cell of the list."""
        return label_set(label) if self.target == "multilabels" else [label]

    def split_table(self) -> Iterable[tuple[str, str, str]]:
        """Yield (file, class name, split) of every image in use, then what was left out and why."""
        yield from super().split_table()
        assert self.listing is not None
        for key, reason in self.listing.left_out:
            yield key, "", f"left out: {reason}"

    def bad_file_count(self) -> int:
        """Return how many files could not be read, before training or, in any worker of this process, until now."""
        return len(self._unreadable) + sum(source.refused_count() for source in self._file_sources())

    def bad_files(self) -> dict[str, str]:
        """Return file -> why it could not be read."""
        found = dict(self._unreadable)
        for source in self._file_sources():
            found |= source.refused()
        return found

    def refuse_too_many_bad_files(self, bad: Mapping[str, str]) -> None:
        """Keep to the budget.

        Raises:
            TooManyBadFiles: there are more than `max_bad_files`; says how many of which kind.
        """
        share = isinstance(self.max_bad_files, float)
        allowed = int(self.max_bad_files * self._count) if share else self.max_bad_files
        if len(bad) > allowed:
            near = nearest_files(self.folder, [key for key, reason in bad.items() if reason == NOT_THERE])
            raise TooManyBadFiles(
                f"{len(bad)} of {self._count} files cannot be read, and data.max_bad_files={self.max_bad_files} allows "
                f"{allowed}: {summary(bad.items())}",
                *([f"nearest: {', '.join(near)}"] if near else []),
            )

    def _file_sources(self) -> list[FileSource]:
        """The splits, each once: validation may be training's own images."""
        sources = {id(source): source for source in self.splits.values()}
        return [source for source in sources.values() if isinstance(source, FileSource)]

    def _all_split(self, listing: Listing, targets: torch.Tensor) -> list[str]:
        """Cut test and validation from what has no split, or validation from train where it is missing."""
        units = self._units(listing)
        chosen = list(listing.splits)
        if "" in chosen and set(chosen) != {""}:
            chosen = [split or "train" for split in chosen]
        if set(chosen) == {""}:
            shares = [("test", self.test_fraction), ("val", self.val_fraction)]
            cut = splits.threshold(units, targets, shares, self.split_seed)
            self._refuse_too_few_groups(units, cut, ["train", *(name for name, share in shares if share)])
            return cut
        if "train" not in chosen:
            if self.for_scoring:
                return chosen
            raise UserError(
                f"data.root={self.root}: no file is in split train, only in {', '.join(sorted(set(chosen)))}"
            )
        self._refuse_torn_groups(units, chosen)
        if "val" not in chosen:
            train = [number for number, split in enumerate(chosen) if split == "train"]
            own = [units[number] for number in train]
            cut = splits.threshold(own, targets[train], [("val", self.val_fraction)], self.split_seed)
            for number, split in zip(train, cut, strict=True):
                chosen[number] = split
            self._refuse_too_few_groups(own, cut, ["train", "val"])
        return chosen

    def _units(self, listing: Listing) -> list[str]:
        if self.group_by is None:
            return [nfc(key) for key in listing.keys]
        groups = [matched(self.group_by, key, "group") for key in listing.keys]
        if not any(groups):
            raise UserError(
                f"data.group_by={self.group_by.pattern} is found in no file's path, such as {listing.keys[0]}"
            )
        alone = groups.count(None)
        if alone:
            listing.notes.append(f"data.group_by is not found in {alone} paths; each of them is a group of its own")
        return [
            nfc(key) if group is None else f"group {group}" for key, group in zip(listing.keys, groups, strict=True)
        ]

    def _refuse_too_few_groups(self, units: Sequence[str], cut: Sequence[str], wanted: Sequence[str]) -> None:
        """Groups are not torn, so a split may get none of them."""
        lacking = [split for split in wanted if split not in cut]
        if self.group_by is None or self.for_scoring or not lacking:
            return
        groups = list(dict.fromkeys(units))
        raise UserError(
            f"data.group_by={self.group_by.pattern}: groups in {len(units)} files: {len(groups)} "
            f"({', '.join(groups[:3])}{', ...' if len(groups) > 3 else ''}), and none is left for "
            f"{' and '.join(lacking)}",
            "groups that are smaller, or folders (or a CSV column) that say the split, go further; "
            "another data.split_seed may, too",
        )

    def _refuse_torn_groups(self, units: list[str], chosen: list[str]) -> None:
        if self.group_by is None:
            return
        where: dict[str, str] = {}
        for unit, split in zip(units, chosen, strict=True):
            if where.setdefault(unit, split) != split:
                raise UserError(f"data.group_by: {unit} stands both in {where[unit]} and in {split}; move its files")

    def _usual_size(self) -> int:
        """Return the median short side of some files, at most 224: what images are resized to by default."""
        assert self.listing is not None
        order = splits.hash_order(self.listing.keys, "size", 0)[:MEASURED].tolist()
        sides = []
        for number in order:
            try:
                sides.append(min(check_header(self.folder / self.listing.keys[number])))
            except Refused:
                continue  # only with check=off; says so when it is read
        return min(LARGEST_SIZE, int(statistics.median_low(sides))) if sides else LARGEST_SIZE

    def _say(self, listing: Listing, found: dict[str, FileSource]) -> None:
        counts = {split: images_of_classes(source.targets, len(self.class_names)) for split, source in found.items()}
        first = next(iter(found))  # train, but for data that are scored only
        named = sorted(zip(counts[first].tolist(), self.class_names, strict=True), key=lambda one: -one[0])
        shown = named if len(named) <= 10 else [*named[:2], *named[-2:]]
        classes = ", ".join(f"{name} {count}" for count, name in shown)
        parts = [
            f"{len(self.class_names)} classes ({classes}{'' if shown == named else ', the ends of them'} in {first})",
            ", ".join(f"{split} {len(source)}" for split, source in found.items()) + " images",
            f"largest class {named[0][0] / max(named[-1][0], 1):.3g} times the smallest",
        ]
        if listing.left_out:
            parts.append(f"left out {len(listing.left_out)}: {summary(listing.left_out)}")
        lines = [f"{self.root}: {'; '.join(parts)}"]
        for split in ("val", "test"):
            lacking = [name for name, count in zip(self.class_names, counts.get(split, ()), strict=False) if not count]
            if split in counts and lacking:
                lines.append(f"{split} has no image of {', '.join(lacking[:10])}{', ...' if len(lacking) > 10 else ''}")
        if "test" not in found and not self.for_scoring:
            lines.append("there are no test images: the run ends without a test")
        same = in_two_splits(listing.keys, listing.splits, self._seen)
        if same:
            pairs = "; ".join(" = ".join(f"{split} {key}" for split, key in group[:3]) for group in same[:3])
            lines.append(f"{len(same)} images stand in two splits: {pairs}{'; ...' if len(same) > 3 else ''}")
        _print([*lines, *self._alike(listing), *listing.notes])

    def _alike(self, listing: Listing) -> list[str]:
        """Say which pictures of different splits look alike, and write all of them to a file."""
        if self.near_duplicates is None:
            return []
        looks = [one.look for one in self._seen]
        count, pairs = near_pairs(looks, listing.splits, most=self.near_duplicates)
        if not pairs:
            return [f"no pictures of different splits look alike (within {self.near_duplicates} of 64 bits)"]
        named = [
            (one.distance, *(part for i in one[1:] for part in (listing.splits[i], listing.keys[i]))) for one in pairs
        ]
        shown = "; ".join(
            f"{split} {key} ~ {other} {copy} ({bits} bits)" for bits, split, key, other, copy in named[:3]
        )
        table = self._checked("-near-duplicates.csv")
        try:
            _write(table, ("distance", "split", "file", "other_split", "other_file"), named)
            more = f"; ... all{'' if count == len(pairs) else f' but {count - len(pairs)}'} in {table}"
        except OSError:  # a folder that cannot be written to
            more = "; ..."
        return [f"pictures of different splits that look alike, {count} in all: {shown}{more if count > 3 else ''}"]

    def _checked(self, ending: str) -> Path:
        """Where what was found out about the files is kept."""
        place = hashlib.blake2b(str(self.root).encode(), digest_size=8).hexdigest()
        return self.data_dir / "checked" / f"{place}{ending}"


@rank_zero_only
def _write(table: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        TableWriter(file).writerows([columns, *rows])


@rank_zero_only
def _print(lines: list[str]) -> None:
    print("\n".join(lines), flush=True)
