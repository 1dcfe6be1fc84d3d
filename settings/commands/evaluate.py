"""The command line of `evaluate.py`: its own keys, and overrides of the data; as strictly checked as `train.py`'s.

Standard library only until something is composed, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.keys import Key, between, one_of, several, switch, whole
from settings.errors import UserError, nearest, shorten

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
ATTACKS = {"fgsm": "one step along the sign of the gradient", "pgd": "several projected steps from a random start"}
DEVICES = ("auto", "cpu", "cuda", "mps")
_FROM_TRAINING = ("data", "paths", "traceback")


def _attacks(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one_of("attack", ATTACKS)(part.strip()) for part in text.split(",")))


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not text.strip() or "\0" in text:
        raise ValueError("must be a folder")
    if (Path.cwd() / path).exists() and not (Path.cwd() / path).is_dir():
        raise ValueError("is a file; name a folder")
    return Path.cwd() / path


OWN = {
    "run": Key("what to score: a run folder, a name under runs/, a checkpoint; A,B,C are an ensemble", str),
    "split": Key(f"images: {', '.join(SPLITS)} (test)", one_of("split", SPLITS), "test"),
    "views": Key(f"{', '.join(VIEWS)} (centre)", one_of("views", VIEWS), "centre"),
    "crop_fraction": Key(
        "side of a crop, as a share of the image, for five_crop and ten_crop (the net's own, else 0.875)",
        between(0.1, 1),
    ),
    "scales": Key("enlargements of multi_scale (1,1.125,1.25)", several(1, 4), (1.0, 1.125, 1.25)),
    "unknown": Key(
        "images of classes that the model does not know: refuse, skip (refuse)",
        one_of("unknown", ("refuse", "skip")),
        "refuse",
    ),
    "output": Key("folder of the results; else RUN/evaluation/SPLIT-VIEWS", _folder),
    "batch_size": Key("images at once (that of the training)", whole(1, 65536)),
    "device": Key(f"{', '.join(DEVICES)} (auto)", one_of("device", DEVICES), "auto"),
    "bootstrap": Key("resamples of the images for the intervals, 0 for none (1000)", whole(0, 100_000), 1000),
    "hardest": Key("rows of hardest.csv and easiest.csv (100); the page shows the first 24", whole(1, 100_000), 100),
    "seed": Key("of bootstrap, corruptions and random starts (0)", whole(0, 2**32 - 1), 0),
    "corruptions": Key("true: accuracy under ten corruptions at five severities", switch, False),
    "attack": Key("fgsm, pgd or both: accuracy against eps", _attacks, ()),
    "eps": Key(
        "sizes of the attack, pixels in [0, 1] (0,1/255,2/255,4/255,8/255,16/255)",
        several(0, 1),
        tuple(number / 255 for number in (0, 1, 2, 4, 8, 16)),
    ),
    "attack_steps": Key("steps of pgd (10)", whole(1, 1000), 10),
    "curves": Key("true: accuracy against angle, shift, scale and hue", switch, False),
    "shortcut": Key("true: accuracy with the centre or the background masked", switch, False),
    "robustness_images": Key(
        "images that corruptions, attacks, curves and masks are measured on; 0: all (1000)",
        whole(0),
        1000,
    ),
}
"""Keys of this script alone."""

HABITS = {
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
}
"""What other tools call them."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One checked job; fields are the keys of `OWN`, `run` as the list of what was found."""

    run: tuple[Path, ...]
    split: str
    views: str
    crop_fraction: float | None
    scales: tuple[float, ...]
    unknown: str
    output: Path | None
    batch_size: int | None
    device: str
    bootstrap: int
    hardest: int
    seed: int
    corruptions: bool
    attack: tuple[str, ...]
    eps: tuple[float, ...]
    attack_steps: int
    curves: bool
    shortcut: bool
    robustness_images: int
    data: list[str] = field(default_factory=list)
    """Overrides of the data, as typed."""
    command: list[str] = field(default_factory=list)
    traceback: bool = False
    dropped_augment: tuple[str, ...] = ()

    @property
    def other_data(self) -> bool:
        """Whether other data than the run's own may be meant."""
        return any(word.lstrip("+").startswith(("data=", "data.root=")) for word in self.data)

    def to_yaml(self) -> str:
        """The job as text."""
        import yaml

        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "dropped_augment"}
        plain["run"] = [str(one) for one in self.run]
        plain["output"] = None if self.output is None else str(self.output)
        lists = {key: list(value) for key, value in plain.items() if isinstance(value, tuple)}
        return yaml.safe_dump({**plain, **lists}, sort_keys=False, allow_unicode=True)


def format_help() -> str:
    """The help page."""
    width = max(map(len, OWN)) + 2
    inner = max(len("views="), len("split=")) + max(map(len, [*VIEWS, *SPLITS])) + 2
    lists = {"split": SPLITS, "views": VIEWS, "attack": ATTACKS}
    return "\n".join(
        [
            "Lightbox scores what was trained.",
            "",
            "  python evaluate.py run=RUN [KEY=VALUE ...] [data.KEY=VALUE ...]",
            "",
            "Keys:",
            *(f"  {name:<{width}}{key.meaning}" for name, key in OWN.items()),
            "",
            *(f"  {f'{name}={choice}':<{inner}}{says}" for name, few in lists.items() for choice, says in few.items()),
            "",
            "The data are the run's own; data.root=NEW split=all takes other images, whose classes are mapped by name.",
            "",
            "Examples:",
            "  python evaluate.py run=runs/digits-resnet20/first",
            "  python evaluate.py run=first,second,third views=ten_crop",
            "  python evaluate.py run='digits-resnet20/*' corruptions=true attack=fgsm,pgd curves=true shortcut=true",
            "  python evaluate.py run=first data.root=~/photos split=all",
            "  torchrun --nproc-per-node=2 evaluate.py run=first",
            "",
            "The last line says `evaluation: FOLDER`. Exit codes: 0 done, 1 a bug, 2 configuration or data.",
        ]
    )


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Evaluation]:
    """The checked job.

    Raises:
        UserError: all mistakes together, in the script's own keys, the runs and the data's.
    """
    from settings.reading import compose
    from settings.runs import rooted

    given, data, wrong = _sorted_words(overrides)
    if multirun:
        wrong.append("command line: -m is not taken; run=A,B,C scores an ensemble")
    values, found = _values(given)
    wrong += found
    runs: list[Path] = []
    paths: list[str] = [word for word in data if word.startswith("paths.")]
    try:
        folder = rooted(compose.compose(paths).paths.runs)
        runs = _runs(given.get("run"), folder)
    except UserError as error:
        wrong += [one if one.startswith("command line") else f"command line: {one}" for one in error.messages]
    stored = next((one for one in map(_stored_config, runs) if one), None)
    if not runs or stored:
        try:
            data_config(stored or {}, data)
        except UserError as error:
            wrong += error.messages
    if wrong:
        raise UserError(*shorten(list(dict.fromkeys(wrong))))
    own = {**values, "run": tuple(runs)}
    traceback = "traceback=true" in [word.lower() for word in data]
    return [Evaluation(**own, data=data, command=list(overrides), traceback=traceback)]


def data_config(stored: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
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


def _runs(text: str | None, folder: Path) -> list[Path]:
    from settings.run_names import find_runs

    if text is None:
        raise UserError("run is needed: run=RUN, a run folder, a name under the runs folder, or a checkpoint file")
    runs = find_runs(text, folder)
    lacking = [one for one in runs if one.is_dir() and not (one / "checkpoints" / "best.ckpt").is_file()]
    if lacking:
        raise UserError(*(f"run: {one} has no checkpoints/best.ckpt (yet)" for one in lacking))
    return runs


def _stored_config(run: Path) -> dict[str, Any] | None:
    """The run's config.yaml, where there is one; a checkpoint that stands alone holds its own."""
    from settings.reading import files
    from settings.run_names import run_of

    file = run_of(run) / "config.yaml"
    if not file.is_file():
        return None
    document = files.read(file, str(file))
    return None if document.problems else dict(document.content)


def _sorted_words(overrides: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Split the command line: the script's own keys, the data's, and what is neither."""
    habits = {word: key for key, words in HABITS.items() for word in words.split()}
    given: dict[str, str] = {}
    data: list[str] = []
    wrong: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        top = key.lstrip("+~").partition(".")[0]
        if equals and key in OWN:
            given[key] = value
        elif top in _FROM_TRAINING:
            data.append(text)
        else:
            wrong.append(f"command line: {_not_taken(text, key, top, habits)}")
    return given, data, wrong


def _not_taken(text: str, key: str, top: str, habits: Mapping[str, str]) -> str:
    from settings.reading.files import groups
    from settings.schema.run_config import Settings

    name = key.lstrip("-").replace("-", "_")
    if "=" not in text and not text.startswith("-"):
        return f"{text[:80]!r}: must be key=value, such as run={text[:80]}"
    if close := nearest(name, OWN, cutoff=0.75):
        return f"unknown key {key}; nearest: {', '.join(close)}"
    if name in habits:
        return f"unknown key {key}; write {habits[name]}"
    if top in Settings.model_fields or top in groups():
        return f"{key} belongs to training: a run is scored as it was trained; what can change is data.*"
    close = nearest(name, OWN)
    return f"unknown key {key}; " + (f"nearest: {', '.join(close)}" if close else f"there is: {', '.join(OWN)}, data.*")


def _values(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Values of the script's own keys, defaults filled in, and what is wrong with them."""
    values = {name: key.default for name, key in OWN.items()}
    wrong = []
    for name, text in given.items():
        try:
            values[name] = OWN[name].read(text)
        except ValueError as error:
            said = str(error)
            wrong.append(
                f"command line: {said}" if said.startswith("unknown") else f"command line: {name}={text[:60]}: {said}"
            )
    for name, needs, right in (
        ("eps", "attack=fgsm or attack=pgd", values["attack"]),
        ("attack_steps", "attack=pgd", "pgd" in values["attack"]),
        ("scales", "views=multi_scale", values["views"] == "multi_scale"),
        ("crop_fraction", "views=five_crop or ten_crop", values["views"] in ("five_crop", "ten_crop")),
        (
            "robustness_images",
            "corruptions, attack, curves or shortcut",
            any(values[one] for one in ("corruptions", "attack", "curves", "shortcut")),
        ),
    ):
        if name in given and not right:
            wrong.append(f"command line: {name} does nothing without {needs}")
    return values, wrong
