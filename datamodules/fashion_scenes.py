"""Scenes of clothes: objects of Fashion-MNIST on crops of two photographs, every pixel labelled by construction.

Source: Fashion-MNIST (see `fashion_mnist.py`, whose files are read) and scikit-learn's photographs `china.jpg` and
`flower.jpg`, CC BY. 12,000 training, 1,000 validation and 2,000 test scenes, 64 x 64 pixels, grey.

- Train and validation see the left three quarters of the photographs, test the right one. Test has the test objects;
  5,000 of the training objects are kept for validation.
- A scene has 1 to 3 objects at their own size, anywhere wholly inside; later ones lie over earlier ones.
- An object is its pixels above 0, with holes filled, but for specks: parts below 0.15 of its largest part.
- Boxes surround what can be seen, half-open. One of which fewer than 20 pixels can be seen has no box, and its class
  does not count as present; its pixels are labelled all the same.
- All draws of a scene are a function of its split and number alone.
"""

import hashlib
import warnings
import zipfile
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from datamodules.base import ImageDataModule
from datamodules.fashion_mnist import FashionMNIST
from datamodules.randomness import generator
from datamodules.sources.arrays import ArraySource
from settings.errors import UserError
from settings.whole_file import writing

SIDE = 64
OBJECT_SIDE = 28
MOST_OBJECTS = 3
KEPT_FOR_VALIDATION = 5_000
SMALLEST_PART = 0.15  # of an object, as a share of its largest part
FEWEST_VISIBLE = 20  # pixels of an object that has a box
COUNTS = {"train": 12_000, "val": 1_000, "test": 2_000}
PHOTOGRAPHS = ("china.jpg", "flower.jpg")
FIRST_TEN = {
    False: "7aa95adc2034006a2f9c2a9d839d8243",
    True: "49304d44ea0b8ca648d91b949b4a4f19",
}
"""Colour or not -> `Scenes.first_ten` of the training scenes: figures compare where it is the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenes:
    """Some scenes as arrays; the objects of a scene in the order in which they were laid down.

    Args:
        images: uint8 (N, C, 64, 64).
        instances: uint8 (N, 64, 64), 0 background, 1 to 3 the object that is seen there.
        labels: int8 (N, 3), class of each object, -1 where there is none.
        boxes: int16 (N, 3, 4), x0, y0, x1, y1 half-open; all 0 where there is none.
    """

    images: np.ndarray
    instances: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray

    @cached_property
    def masks(self) -> np.ndarray:
        """Uint8 (N, 64, 64): 0 background, else 1 + the class."""
        classes = np.pad(self.labels + 1, ((0, 0), (1, 0))).astype(np.uint8)  # (N, 1 + 3), by instance
        return np.take_along_axis(classes, self.instances.reshape(len(classes), -1), axis=1).reshape(
            self.instances.shape
        )

    @cached_property
    def present(self) -> np.ndarray:
        """Bool (N, 10): which classes have a box."""
        has_box = self.boxes[:, :, 2] > 0
        classes = np.arange(len(FashionMNIST.class_names))
        return ((self.labels[:, :, None] == classes) & has_box[:, :, None]).any(axis=1)

    def first(self, count: int | None) -> "Scenes":
        """The first ``count`` scenes; None: all."""
        return Scenes(**{name: array[:count] for name, array in self.arrays().items()})

    def first_ten(self) -> str:
        """A hash of the first ten scenes, by which a set of scenes is known."""
        digest = hashlib.blake2b(digest_size=16)
        for name, array in self.first(10).arrays().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def arrays(self) -> dict[str, np.ndarray]:
        """What is kept on disk, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class FashionScenes(ImageDataModule):
    """12,000 training, 1,000 validation and 2,000 test scenes, uint8 ``(1, 64, 64)``, or ``(3, 64, 64)`` in colour.

    Args:
        root: folder of Fashion-MNIST's four files; None looks where `fashion_mnist` does.
        data_dir: the scenes are made once into ``fashion_scenes`` below it.
        count: train on the first so many scenes; None: all.
        colour: photographs in colour, and tinted objects: another data set.
    """

    task: ClassVar[str] = "segmentation"
    targets: ClassVar[tuple[str, ...]] = ("masks", "multilabels")
    channels = 1
    image_size = SIDE
    mean: tuple[float, ...] = (0.4469,)
    std: tuple[float, ...] = (0.2992,)

    def __init__(
        self,
        *,
        root: Path | None = None,
        data_dir: Path = Path("data"),
        count: Annotated[int, "1 <= x <= 12000"] | None = None,
        colour: bool = False,
    ) -> None:
        self.count = count
        self.colour = colour
        if colour:
            self.channels = 3
            self.mean, self.std = (0.4427, 0.4227, 0.3763), (0.3410, 0.2787, 0.2975)
        super().__init__(root=root, data_dir=data_dir)

    @property
    def class_names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The clothes; of masks with the background in front."""
        return ("background", *FashionMNIST.class_names) if self.target == "masks" else FashionMNIST.class_names

    def prepare_data(self) -> None:
        """Make the scenes, unless they are there.

        Raises:
            UserError: Fashion-MNIST is nowhere, or ``data_dir`` cannot be written to.
        """
        if self._kept() is None:
            scenes = self._made()
            if scenes["train"].first_ten() == FIRST_TEN[self.colour]:
                self._keep(scenes)

    def sources(self) -> dict[str, ArraySource]:
        """Read the scenes; what differs from the recorded ones is made anew in each run, and said."""
        scenes = self._kept() or self._made()
        if scenes["train"].first_ten() != FIRST_TEN[self.colour]:
            warnings.warn(
                "fashion_scenes: other scenes than the recorded ones, from other files or another decoder of JPEG; "
                "figures do not compare, and they are made anew in each run",
                stacklevel=2,
            )
        scenes["train"] = scenes["train"].first(self.count)
        return {split: self._source(split, found) for split, found in scenes.items()}

    def _source(self, split: str, scenes: Scenes) -> ArraySource:
        keys = [f"{split}/{index:05d}" for index in range(len(scenes.images))]
        targets = scenes.masks if self.target == "masks" else scenes.present.astype(np.float32)
        return ArraySource(torch.from_numpy(scenes.images), torch.from_numpy(targets), keys)

    @property
    def _file(self) -> Path:
        # Named by what is in it: where the definition changes, so does the file.
        return self.data_dir / "fashion_scenes" / f"{FIRST_TEN[self.colour]}.npz"

    def _kept(self) -> dict[str, Scenes] | None:
        """The scenes as they were made before; None where they are not there, or damaged."""
        if not self._file.is_file():
            return None
        try:
            # Opened here: numpy leaves the file of a damaged archive open.
            with self._file.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                names = [field.name for field in fields(Scenes)]
                return {split: Scenes(**{name: file[f"{split}_{name}"] for name in names}) for split in COUNTS}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def _keep(self, scenes: dict[str, Scenes]) -> None:
        arrays: dict[str, Any] = {
            f"{split}_{name}": array for split, made in scenes.items() for name, array in made.arrays().items()
        }
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with writing(self._file, ending=".npz") as fresh:
                np.savez(fresh, **arrays)
        except OSError as error:
            raise UserError(f"paths.data={self.data_dir}: cannot be written to: {error.strerror}") from error

    def _made(self) -> dict[str, Scenes]:
        clothes = FashionMNIST(root=self.root, data_dir=self.data_dir)
        clothes.prepare_data()
        print(f"fashion_scenes: making {sum(COUNTS.values()):,} scenes, some seconds, once", flush=True)
        return make(clothes.sources(), colour=self.colour)


def make(clothes: dict[str, ArraySource], *, colour: bool, counts: dict[str, int] | None = None) -> dict[str, Scenes]:
    """Make the scenes of all splits.

    Args:
        clothes: "train" and "test" of Fashion-MNIST.
        colour: see `FashionScenes`.
        counts: how many of each split; None: all of them.
    """
    cut = len(clothes["train"]) - KEPT_FOR_VALIDATION
    objects = {
        "train": (clothes["train"].images[:cut], clothes["train"].targets[:cut]),
        "val": (clothes["train"].images[cut:], clothes["train"].targets[cut:]),
        "test": (clothes["test"].images, clothes["test"].targets),
    }
    return {
        split: split_scenes(
            split,
            count,
            pixels=objects[split][0][:, 0].numpy(),
            labels=objects[split][1].numpy(),
            photographs=photographs(split, colour=colour),
        )
        for split, count in (COUNTS if counts is None else counts).items()
    }


def photographs(split: str, *, colour: bool) -> list[np.ndarray]:
    """The part of each photograph that a split may see, uint8 (C, H, W); grey is the mean over the channels."""
    from PIL import Image

    package = find_spec("sklearn")
    assert package is not None and package.origin is not None
    found = []
    for name in PHOTOGRAPHS:
        with Image.open(Path(package.origin).parent / "datasets" / "images" / name) as image:
            pixels = np.asarray(image.convert("RGB"))  # (H, W, 3)
        cut = pixels.shape[1] * 3 // 4
        pixels = pixels[:, cut:] if split == "test" else pixels[:, :cut]
        if not colour:
            pixels = pixels.mean(axis=2, keepdims=True).round().astype(np.uint8)
        found.append(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return found


def silhouettes(pixels: np.ndarray) -> np.ndarray:
    """Which pixels belong to the objects: above 0, holes filled, without specks; neighbours share an edge.

    Args:
        pixels: uint8 (N, H, W).

    Returns:
        bool (N, H, W).
    """
    from scipy import ndimage  # tenths of a second

    # Neighbours within an image alone, so that one call serves all.
    edges = np.zeros((3, 3, 3), bool)
    edges[1] = ndimage.generate_binary_structure(2, 1)
    outside, _ = ndimage.label(np.pad(pixels == 0, ((0, 0), (1, 1), (1, 1)), constant_values=True), edges)
    whole = (outside != outside[:, :1, :1])[:, 1:-1, 1:-1]
    parts, _ = ndimage.label(whole, edges)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    size = sizes[parts]  # of the part that a pixel belongs to
    return whole & (size >= SMALLEST_PART * size.max(axis=(1, 2), keepdims=True))


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What one scene is made of, in the order in which it is laid down; places are (top, left)."""

    photograph: int
    crop: tuple[int, int]
    objects: tuple[int, ...]
    places: tuple[tuple[int, int], ...]
    tints: np.ndarray
    """Float (3, 3), an object a row: the share of red, green and blue of it, from 0.4 to 1."""


def draw(split: str, scene: int, *, objects: int, sizes: list[tuple[int, int]]) -> Draw:
    """Draw a scene by its split and number alone.

    Args:
        split: train, val or test.
        scene: counted from 0.
        objects: how many there are to choose from.
        sizes: height and width of each photograph.
    """
    # All at once, so that no number depends on what the others were used for.
    numbers = torch.rand(4 + 6 * MOST_OBJECTS, dtype=torch.float64, generator=generator("scenes", split, scene))
    shares = numbers.tolist()
    count, photograph = 1 + int(shares[0] * MOST_OBJECTS), int(shares[1] * len(sizes))
    height, width = sizes[photograph]
    room = SIDE - OBJECT_SIDE + 1
    each = [shares[4 + 3 * index : 7 + 3 * index] for index in range(count)]
    return Draw(
        photograph=photograph,
        crop=(int(shares[2] * (height - SIDE + 1)), int(shares[3] * (width - SIDE + 1))),
        objects=tuple(int(which * objects) for which, _, _ in each),
        places=tuple((int(top * room), int(left * room)) for _, top, left in each),
        tints=0.4 + 0.6 * numbers[-3 * MOST_OBJECTS :].view(MOST_OBJECTS, 3).numpy(),
    )


def split_scenes(
    split: str, count: int, *, pixels: np.ndarray, labels: np.ndarray, photographs: list[np.ndarray]
) -> Scenes:
    """Make the first ``count`` scenes of a split.

    Args:
        split: train, val or test; it keys the draws.
        count: how many.
        pixels: uint8 (M, 28, 28), the objects to choose from.
        labels: (M,), their classes.
        photographs: uint8 (C, H, W) each.
    """
    sizes = [(photograph.shape[1], photograph.shape[2]) for photograph in photographs]
    draws = [draw(split, scene, objects=len(pixels), sizes=sizes) for scene in range(count)]
    used = np.unique([index for one in draws for index in one.objects])
    shapes: dict[int, np.ndarray] = {}
    for part in np.split(used, range(4096, len(used), 4096)):  # some MB at a time
        shapes.update(zip(part.tolist(), silhouettes(pixels[part]), strict=True))
    channels = len(photographs[0])
    scenes = Scenes(
        images=np.empty((count, channels, SIDE, SIDE), np.uint8),
        instances=np.zeros((count, SIDE, SIDE), np.uint8),
        labels=np.full((count, MOST_OBJECTS), -1, np.int8),
        boxes=np.zeros((count, MOST_OBJECTS, 4), np.int16),
    )
    for scene, one in enumerate(draws):
        top, left = one.crop
        scenes.images[scene] = photographs[one.photograph][:, top : top + SIDE, left : left + SIDE]
        for number, (index, (top, left)) in enumerate(zip(one.objects, one.places, strict=True)):
            square = np.s_[top : top + OBJECT_SIDE, left : left + OBJECT_SIDE]
            for channel in range(channels):
                tinted = pixels[index] if channels == 1 else pixels[index] * one.tints[number, channel]
                np.copyto(scenes.images[scene, channel][square], tinted, where=shapes[index], casting="unsafe")
            scenes.instances[scene][square][shapes[index]] = number + 1
            scenes.labels[scene, number] = labels[index]
        for number in range(len(one.objects)):
            seen = scenes.instances[scene] == number + 1
            if np.count_nonzero(seen) >= FEWEST_VISIBLE:
                rows, columns = seen.any(axis=1).nonzero()[0], seen.any(axis=0).nonzero()[0]
                scenes.boxes[scene, number] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return scenes
