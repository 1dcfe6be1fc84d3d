"""The runs that an evaluation scores: one checkpoint, or several as an ensemble, and what they were trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from settings.commands.evaluate import Evaluation
from settings.errors import UserError

if TYPE_CHECKING:
    from models.load import LoadedRun
    from models.predictor import Predictor
    from settings.schema.run_config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Member:
    """One checkpoint: where it comes from, and its net with classes in the order of the first member's."""

    path: Path
    run: "LoadedRun"
    net: "Predictor"

    @property
    def name(self) -> str:
        """How it is called on the screen, and where runs are named."""
        from settings.run_names import run_of

        folder = run_of(self.path)
        name = f"{folder.parent.name}/{folder.name}"
        plain = self.path.is_dir() or self.path.name == "best.ckpt"
        return name if plain else f"{name}/{self.path.relative_to(folder).as_posix()}"


def load_members(paths: Sequence[Path], device: Any) -> list[Member]:
    """Load the checkpoints; all outputs in the first one's order of classes.

    Raises:
        UserError: one of them has other classes.
    """
    from engine.predictors import predictor_of
    from models import load_run

    runs = [load_run(path) for path in paths]
    for path, one in zip(paths, runs, strict=True):
        if not {"config", "data_fingerprint"} <= set(one.checkpoint):
            raise UserError(f"run: {path} does not say which data it was trained on; predict.py uses it without")
    tasks = dict.fromkeys(one.checkpoint["task"] for one in runs)
    if len(tasks) > 1:
        raise UserError(f"run: an ensemble is of one task, and these are of {', '.join(tasks)}")
    names = runs[0].class_names
    for path, one in zip(paths, runs, strict=True):
        if set(one.class_names) != set(names):
            more, less = sorted(set(one.class_names) - set(names)), sorted(set(names) - set(one.class_names))
            raise UserError(
                f"run: {path} tells other classes apart than {paths[0]}: "
                f"{', '.join([*(f'+{name}' for name in more[:4]), *(f'-{name}' for name in less[:4])])}"
            )
    return [
        Member(path=path, run=one, net=predictor_of(one, class_names=names).to(device))
        for path, one in zip(paths, runs, strict=True)
    ]


def channels(members: Sequence[Member]) -> int:
    """That files are read with: the most that a member wants."""
    return max(member.run.preprocessing.channels for member in members)


def data_of(config: "RunConfig", *, other: bool, **feeding: Any) -> Any:
    """The data module of the configuration, set up; `other` are data that are only scored.

    `feeding` replaces single arguments of `configure`, such as `batch_size`.
    """
    from engine.data_and_task import load_data

    data = load_data(config, for_scoring=other)
    data.configure(**{"seed": config.seed, **config.data.feeding_arguments(), **feeding})
    data.setup()
    return data


def scores_classes(members: Sequence[Member]) -> bool:
    """Whether the members tell one class an image, which is scored in more ways than other tasks are."""
    from settings.schema.names import task_value

    return all(task_value(member.run.checkpoint["task"], "predicts") == "class" for member in members)


def check_members(
    job: Evaluation, images: Any, members: Sequence[Member], config: "RunConfig", fingerprint: str
) -> list[dict[str, Any]]:
    """Say of each member what it is, and how many of the images it was trained on.

    Raises:
        UserError: a member was trained on images that it shall be tested on.
    """
    from settings.reading.compose import config_from_plain
    from settings.runs import rooted

    lines, described = [], []
    for member in members:
        own = config_from_plain(member.run.checkpoint["config"])
        roots = [None if one.data.root is None else rooted(one.data.root).resolve() for one in (own, config)]
        same_set = own.data.target == config.data.target and roots[0] == roots[1]
        folder = roots[0] if roots[0] is None or roots[0].is_dir() else roots[0].parent
        seen = images.found_in(
            trained_keys(member, own),
            folder=folder,
            same_data=same_set or member.run.checkpoint["data_fingerprint"] == fingerprint,
        )
        if seen and job.split in ("test", "val"):
            lines.append(
                f"run: {member.name} was trained on {len(seen)} of the {len(images)} images of split={job.split}, "
                f"such as {images.keys[seen[0]]} (its data.split_seed={own.data.split_seed}); leave it out"
            )
        described.append(
            {
                "name": member.name,
                "run": str(member.path),
                "model": member.run.checkpoint["model"]["name"],
                "parameters": sum(parameter.numel() for parameter in member.net.parameters()),
                "preprocessing": member.run.preprocessing.to_dict(),
                "trained_on_images": len(seen),
            }
        )
    if lines:
        raise UserError(*lines)
    return described


def trained_keys(member: Member, own: "RunConfig") -> list[str]:
    """The training images of a run, by its splits.csv; of a checkpoint that stands alone, by its configuration."""
    import csv
    import io

    from settings.run_names import run_of
    from settings.stored_files import MOST_BYTES_OF_TABLE, read_text
    from settings.whole_file import plain_cell

    folder = run_of(member.path)
    if not (folder / "splits.csv").exists():
        return list(data_of(own, other=False).splits["train"].keys)
    try:
        table = io.StringIO(read_text(folder, "splits.csv", most=MOST_BYTES_OF_TABLE), newline="")
        return [plain_cell(row["file"] or "") for row in csv.DictReader(table) if row["split"] == "train"]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise UserError(f"run: {member.path}: splits.csv cannot be read ({error})") from error


def output_folder(job: Evaluation, members: Sequence[Member]) -> Path:
    """RUN/evaluation/<split>-<views>; what is no plain score of the best checkpoint has a longer name."""
    import hashlib

    from settings.run_names import run_of

    if job.output is not None:
        return job.output
    path = members[0].path
    parts = [job.split, job.views]
    if not path.is_dir() and path.name != "best.ckpt":
        parts.append(path.stem)
    if len(members) > 1:
        digest = hashlib.blake2b("\n".join(sorted(str(one.path) for one in members)).encode(), digest_size=3)
        parts.append(f"ensemble-of-{len(members)}-{digest.hexdigest()}")
    for word in job.data:
        key, _, value = word.partition("=")
        if key in ("data", "data.root"):
            parts.append("".join(letter if letter.isalnum() else "_" for letter in Path(value).name)[:40] or "data")
    return run_of(path) / "evaluation" / "-".join(parts)
