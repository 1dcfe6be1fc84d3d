"""The image preparation that belongs to a net, as plain values: stored in checkpoints, read at load time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Protocol

INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to a uint8 image before a net sees it, the same in training, evaluation and after loading.

    The order: resize so that the short side is `resize` pixels, cut the central `image_size` square, adapt to
    `channels`, scale 0..255 to [0, 1], subtract `mean` and divide by `std` (one number a channel).
    """

    image_size: int
    resize: int
    interpolation: str
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    settled: str = field(default="", compare=False, repr=False)
    """Where the values come from, in one line for the user; empty where they are plainly the data's. Not stored."""

    def __post_init__(self) -> None:
        """Refuse values no image can be prepared with (ValueError)."""
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if self.image_size < 1 or self.resize < self.image_size:
            raise ValueError(
                f"resize must be at least image_size, both positive; got {self.resize} and {self.image_size}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}; got {self.interpolation!r}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise ValueError(
                f"mean and std need one number for each of {self.channels} channels; "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive; got {self.std}")

    @property
    def scale(self) -> tuple[float, ...]:
        """What normalising multiplies pixels of 0 to 255 by, a number a channel: 1 / (255 std)."""
        return tuple(1 / (255 * one) for one in self.std)

    @property
    def bias(self) -> tuple[float, ...]:
        """What normalising adds after that, a number a channel: -mean / std."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Give plain values (tuples as lists) that YAML, JSON and a weights-only checkpoint can hold."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {key: value for key, value in plain.items() if key != "settled"}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Preprocessing:
        """Rebuild from `to_dict`'s values; a missing or unknown key is a ValueError that names it."""
        known = {one.name for one in fields(cls)} - {"settled"}
        if set(stored) != known:
            missing, extra = sorted(known - set(stored)), sorted(set(stored) - known)
            raise ValueError(f"stored preprocessing does not fit: missing {missing}, unknown {extra}")
        return cls(**stored)


class Wanted(Protocol):
    """What a net wants its images to be; None is "no opinion" (`models.build.NetInput`)."""

    @property
    def image_sizes(self) -> tuple[int, ...] | None: ...  # noqa: D102
    @property
    def image_size(self) -> int | None: ...  # noqa: D102
    @property
    def resize(self) -> int | None: ...  # noqa: D102
    @property
    def interpolation(self) -> str | None: ...  # noqa: D102
    @property
    def mean(self) -> tuple[float, ...] | None: ...  # noqa: D102
    @property
    def std(self) -> tuple[float, ...] | None: ...  # noqa: D102
    @property
    def origin(self) -> str | None: ...  # noqa: D102


def choose(
    wanted: Wanted,
    *,
    image_size: int | None,
    native_size: int,
    channels: int,
    mean: Sequence[float],
    std: Sequence[float],
    said: Mapping[str, Any] | None = None,
) -> Preprocessing:
    """Settle the preparation between what the user said, what the weights were trained with, and the data.

    Args:
        wanted: the net's side.
        image_size: the user's word, which wins.
        native_size: side of the stored images, in pixels.
        channels: of the stored images; the net is adapted to them.
        mean: of the training images, one number a channel, in [0, 1]; the weights' own come first.
        std: likewise.
        said: what else the user says, which wins: `resize`, `interpolation`, `mean` and `std` (a number, or one a
            channel); None in it is no word.
    """
    said = {key: value for key, value in (said or {}).items() if value is not None}
    size = image_size or wanted.image_size
    if size is None:
        fits = wanted.image_sizes is None or native_size in wanted.image_sizes
        size = native_size if fits else (wanted.image_sizes or (native_size,))[0]
    resize = size
    if wanted.resize and wanted.image_size:
        resize = max(size, round(size * wanted.resize / wanted.image_size))
    resize = max(size, said.get("resize", resize))
    # The weights' statistics come first, and the user's word before them.
    mean, std = said.get("mean", wanted.mean or mean), said.get("std", wanted.std or std)
    mean, std = (tuple(one) if isinstance(one, Sequence) else (float(one),) for one in (mean, std))
    chosen = Preprocessing(
        image_size=size,
        resize=resize,
        interpolation=said.get("interpolation") or wanted.interpolation or "bilinear",
        channels=channels,
        mean=_per_channel(mean, channels),
        std=_per_channel(std, channels),
    )
    if wanted.origin is None and not said:
        return chosen
    averaged = channels == 1 and (len(set(mean)) > 1 or len(set(std)) > 1)
    keys = [*(["image_size"] if image_size else []), *said]
    return replace(chosen, settled=_told(chosen, origin=wanted.origin or "the data", keys=keys, averaged=averaged))


def _told(chosen: Preprocessing, *, origin: str, keys: Sequence[str], averaged: bool) -> str:
    """Say what is done to images, and who says so."""
    cut = "" if chosen.resize == chosen.image_size else f" cut from {chosen.resize}"
    mean, std = (", ".join(f"{value:.4g}" for value in dict.fromkeys(one)) for one in (chosen.mean, chosen.std))
    text = f"images: {chosen.image_size} pixels{cut}, {chosen.interpolation}, mean {mean}, std {std}; from {origin}"
    if averaged:
        text += " (averaged over its channels; model.in_channels=3 keeps them apart)"
    return text + (f", but for {', '.join(f'data.{key}' for key in keys)}" if keys else "")


def _per_channel(values: Sequence[float], channels: int) -> tuple[float, ...]:
    """The weights' numbers for images with another number of channels: their average, for each."""
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels
