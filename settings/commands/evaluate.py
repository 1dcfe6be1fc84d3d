"""The command line of `evaluate.py`: its own keys, and overrides of the data; as strictly checked as `train.py`'s.

Standard library only until something is composed, so that help comes at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from settings.commands.command import Command, Job, Said
from settings.commands.keys import NEEDED, absolute, key
from settings.errors import UserError

if TYPE_CHECKING:
    from settings.schema.run_config import RunConfig

SPLITS = {
    "test": "the test images",
    "val": "the validation images",
    "train": "the images that the run was trained on",
    "all": "all of them",
}
VIEWS = {
    "centre": "one view: what validation and test see",
    "five_crop": "four corners and the centre",
    "ten_crop": "those and their mirror images",
    "flip": "the image and its mirror image",
    "flip_shift": "those two, and both moved by one pixel up and left, and down and right",
    "multi_scale": "the centre at several scales",
}
THRESHOLDS = {"0.5": "half, for all labels", "tuned": "for each label what was best on the run's validation (best F1)"}
ATTACKS = {"fgsm": "one step along the sign of the gradient", "pgd": "several projected steps from a random start"}


def _folder(text: str) -> Path:
    path = absolute(text)
    if path.exists() and not path.is_dir():
        raise ValueError("is a file; name a folder")
    return path


@dataclass(frozen=True, kw_only=True)
class Evaluation(Job):
    """One checked job; `checkpoints` is what `run` means, `data` the overrides of the data as typed."""

    run: str = key(NEEDED, "a run folder, a name under the runs folder, a checkpoint; A,B,C are an ensemble")
    split: str = key("test", "images", choices=SPLITS)
    views: str = key("centre", "of each image", choices=VIEWS)
    thresholds: str = key("0.5", "above which a label is there (multilabel)", choices=THRESHOLDS)
    crop_fraction: Annotated[float, "0.1 < x <= 1"] | None = key(
        None, "side of crops (five_crop, ten_crop)", shown="the net's, else 0.875"
    )
    scales: tuple[Annotated[float, "1 <= x <= 4"], ...] = key((1.0, 1.125, 1.25), "enlargements of multi_scale")
    unknown: Literal["refuse", "skip"] = key("refuse", "images of classes that the model does not know")
    output: Path | None = key(None, "folder of the results; else RUN/evaluation/SPLIT-VIEWS", read=_folder)
    batch_size: Annotated[int, "1 <= x <= 65536"] | None = key(None, "images at once", shown="that of the training")
    device: Literal["auto", "cpu", "cuda", "mps"] = key("auto", "where it computes")
    bootstrap: Annotated[int, "0 <= x <= 100000"] = key(
        1000, "resamples of the images for intervals; 0: Wilson's alone"
    )
    hardest: Annotated[int, "1 <= x <= 100000"] = key(100, "rows of hardest.csv and easiest.csv; the page shows 24")
    seed: Annotated[int, "0 <= x <= 4294967295"] = key(0, "of bootstrap, corruptions and random starts")
    corruptions: bool = key(False, "true: accuracy under ten corruptions at five severities")
    attack: tuple[str, ...] = key((), "one or both: accuracy against eps", choices=ATTACKS)
    eps: tuple[Annotated[float, "0 <= x <= 1"], ...] = key(
        tuple(number / 255 for number in (0, 1, 2, 4, 8, 16)),
        "sizes of the attack",
        shown="0,1/255,2/255,4/255,8/255,16/255",
    )
    attack_steps: Annotated[int, "1 <= x <= 1000"] = key(10, "steps of pgd")
    curves: bool = key(False, "true: accuracy against angle, shift, scale and hue")
    shortcut: bool = key(False, "true: accuracy with the centre or the background masked")
    robustness_images: Annotated[int, "x >= 0"] = key(1000, "images for corruptions, attacks, curves and masks; 0: all")
    checkpoints: tuple[Path, ...] = ()
    data: list[str] = field(default_factory=list)

    @property
    def other_data(self) -> bool:
        """Whether other data than the run's own may be meant."""
        return any(word.lstrip("+").startswith(("data=", "data.root=")) for word in self.data)


COMMAND = Command(
    job=Evaluation,
    script="evaluate.py",
    title="Lightbox scores what was trained.",
    usage=["run=RUN [KEY=VALUE ...] [data.KEY=VALUE ...]"],
    notes=["The data are the run's own; data.root=NEW split=all takes other images, whose classes are mapped by name."],
    examples=[
        "run=runs/digits-resnet20/first",
        "run=first,second,third views=ten_crop",
        "run='digits-resnet20/*' corruptions=true attack=fgsm,pgd curves=true shortcut=true",
        "run=first data.root=~/photos split=all",
        "torchrun --nproc-per-node=2 evaluate.py run=first",
    ],
    ending="The last line says `evaluation: FOLDER`. Exit codes: 0 done, 1 a bug, 2 configuration or data.",
    overrides=("data", "paths"),
    training="a run is scored as it was trained; what can change is data.*",
    no_grid="run=A,B,C scores an ensemble",
    habits={
        "run": "runs ckpt checkpoint ckpt_path model weights resume load_from name",
        "views": "tta test_time_augmentation view crops",
        "output": "out output_dir out_dir save_dir",
        "batch_size": "bs batch",
        "device": "accelerator cuda cpu gpu",
        "eps": "epsilon epsilons",
        "attack_steps": "steps pgd_steps",
        "split": "set subset",
        "data.root": "root data_dir images dataset_dir",
        "data.num_workers": "workers num_workers",
    },
)


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Evaluation]:
    """The checked job.

    Raises:
        UserError: all mistakes together, in the script's own keys, the runs and the data's.
    """
    from settings.reading import compose
    from settings.runs import rooted

    said = COMMAND.read(overrides, multirun)
    _check_together(said)
    runs: list[Path] = []
    paths = [word for word in said.overrides if word.startswith("paths.")]
    try:
        folder = rooted(compose.compose(paths).paths.runs)
        runs = _runs(said.values["run"], folder) if said.values["run"] else []
    except UserError as error:
        said.wrong += [one if one.startswith("command line") else f"command line: {one}" for one in error.messages]
    stored = next((one for one in map(_stored_config, runs) if one), None)
    if not runs or stored:
        try:
            data_config(stored or {}, said.overrides)
        except UserError as error:
            said.wrong += error.messages
    said.refuse()
    return [Evaluation(**said.values, checkpoints=tuple(runs), data=said.overrides, command=list(overrides))]


def _check_together(said: Said) -> None:
    """What no single key can tell."""
    values, idle = said.values, said.idle
    if not values["attack"]:
        idle(["eps"], "without attack=fgsm or attack=pgd")
    if "pgd" not in values["attack"]:
        idle(["attack_steps"], "without attack=pgd")
    if values["views"] != "multi_scale":
        idle(["scales"], "without views=multi_scale")
    if values["views"] not in ("five_crop", "ten_crop"):
        idle(["crop_fraction"], "without views=five_crop or ten_crop")
    if not any(values[one] for one in ("corruptions", "attack", "curves", "shortcut")):
        idle(["robustness_images"], "without corruptions, attack, curves or shortcut")


def data_config(stored: Mapping[str, Any], overrides: Sequence[str]) -> "RunConfig":
    """The configuration of a run with the data that the command line names.

    A folder of images or a CSV file as `data.root` of a run that was trained on a packaged data set is read as
    `data=folder` or `data=csv`.

    Args:
        stored: the run's own configuration, plain.
        overrides: `data=NAME`, `data.KEY=VALUE`, `paths.KEY=VALUE`.

    Raises:
        UserError: all mistakes in them.
    """
    from settings.reading import compose

    words = list(overrides)
    root = next((word.partition("=")[2] for word in reversed(words) if word.startswith("data.root=")), None)
    if root and stored and not any(word.startswith("data=") for word in words):
        kind = _kind_of_images(root)
        if kind and stored.get("data", {}).get("_target_") not in _targets():
            words = [f"data={kind}", *words]
    return compose.compose_jobs(words, stored=stored or None)[0]


def _targets() -> tuple[str, ...]:
    from settings.schema.image_files import TARGETS

    return TARGETS


def _kind_of_images(root: str) -> str | None:
    """`csv` for a table, `folder` for a folder with images below its folders, else None."""
    from itertools import islice

    path = Path.cwd() / Path(root).expanduser()
    if path.suffix.lower() == ".csv":
        return "csv"
    endings = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
    inner = (one for depth in ("*/*", "*/*/*") for one in islice(path.glob(depth), 2000))
    return "folder" if path.is_dir() and any(one.suffix.lower() in endings for one in inner) else None


def _runs(text: str, folder: Path) -> list[Path]:
    from settings.run_names import checkpoint_of, find_runs

    found, lacking = [], []
    for one in find_runs([text], folder):
        try:
            file = checkpoint_of(one)
            found.append(one if file.name == "best.ckpt" else file)
        except UserError:
            lacking.append(f"run: {one} has no checkpoint (yet)")
    if lacking:
        raise UserError(*lacking)
    return found


def _stored_config(run: Path) -> dict[str, Any] | None:
    """The run's config.yaml, where there is one; a checkpoint that stands alone holds its own."""
    from settings.reading import files
    from settings.run_names import run_of

    folder = run_of(run)
    if not (folder / "config.yaml").is_file():
        return None
    document = files.read_stored(folder, str(folder / "config.yaml"))
    return None if document.problems else dict(document.content)
