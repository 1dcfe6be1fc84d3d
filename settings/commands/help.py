"""What `python train.py --help` prints.

Found by reading configs/ as text with the standard library alone. So the answer comes at once, where Hydra's
own help costs a tenth of importing lightning, and it comes when a YAML file is broken.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from settings.errors import UserError, unknown
from settings.paths import CONFIGS

COMMON = (
    ("seed=1", "initialisation, order, draws, dropout; never the split"),
    ("name=first", "the run folder's name; else a time stamp with a random tail"),
    ("trainer.max_epochs=5", "how long to train"),
    ("data=folder data.root=~/photos", "your own images; data=csv data.root=LABELS.csv"),
    ("data.batch_size=64", "images an optimiser step, over devices and accumulation"),
    ("data.fraction=0.1", "share of the training images; or data.per_class=20"),
    ("optimizer=sgd optimizer.lr=0.1", "another optimiser, its learning rate"),
    ("scheduler=cosine", "another schedule; scheduler.warmup_epochs=1 warms up"),
    ("model=vgg16", "any own, torchvision or timm net by its name"),
    ("model=resnet18 transfer=full", "from pretrained weights; model.weights=FILE: local ones"),
    ("model=resnet18 transfer=gradual", "head, then each stage; head_only, partial, discriminative"),
    ("augment=light", "a recipe; augment.horizontal_flip=null drops an operation"),
    ("augment=strong", "standard has RandAugment, Cutout; strong also Mixup, CutMix"),
    ("loss.label_smoothing=0.1", "also loss.l1, loss.l2"),
    ("data.balance=oversample", "for unequal classes; or loss.class_weights=balanced"),
    ("monitor=val/f1_macro", "picks the best by a mean over classes; or val/accuracy_macro"),
    ("callbacks.early_stopping.patience=5", "stops when monitor=val/accuracy stands still"),
    ("callbacks.ema.decay=0.99", "tests the running average of the weights"),
    ("callbacks.finite.every_n_steps=50", "looks for NaN that often, and before every save"),
    ("trainer.precision=bf16-mixed", "or auto: the fastest; trainer.* takes arguments of Trainer"),
    ("logger=wandb logger.project=lightbox", "Weights & Biases, offline without an account"),
    ("logger=[wandb,tensorboard]", "several at once; logger.images=false sends no pictures"),
    ("callbacks.report=null", "no report.html; =true writes one in every run of a grid"),
    ("resume=last", "goes on with the newest unfinished run; or with a folder"),
    ("name=first resume=auto", "goes on with that run if it has a checkpoint, else starts it"),
    ("debug=fast", "one batch of everything; overfit, limit, profile look closer"),
    ("-m model=lenet5,resnet20 seed=0,1,2", "a grid: all jobs are checked first, then run one by one"),
    ("--cfg job", "prints the resolved configuration and stops"),
    ("--schema", "prints a JSON schema of configs/, for editors"),
)
_FOR_EDITORS = re.compile(r"# yaml-language-server: ")
_FOR_MACHINES = re.compile(r"# (@package|yaml-language-server:) ")


def read_default_choices(train_yaml: Path = CONFIGS / "train.yaml") -> dict[str, str]:
    """Group -> default choice, in the order of the defaults list of train.yaml."""
    text = train_yaml.read_text(encoding="utf-8")
    choices: dict[str, str] = {}
    for line in re.split(r"^defaults:", text, maxsplit=1, flags=re.MULTILINE)[-1].splitlines()[1:]:
        if line.strip() and not line.lstrip().startswith(("-", "#")):
            break  # the first key after the list
        if match := re.match(r"\s*-\s*(?:optional\s+|override\s+)*/?(\w+)\s*:\s*(\S+)", line):
            choices[match[1]] = match[2]
    return choices


def read_groups(configs: Path = CONFIGS) -> dict[str, list[str]]:
    """Group -> its choices: folders of configs/ that hold YAML files, in the order of the defaults list."""
    found = {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(configs.iterdir())
        if folder.is_dir() and any(folder.glob("*.yaml"))
    }
    order = [group for group in read_default_choices(configs / "train.yaml") if group in found]
    return {group: found[group] for group in [*order, *(group for group in found if group not in order)]}


def read_claim(experiment: Path) -> str:
    """The goal in the header of an experiment file, or its first line of comment."""
    lines = experiment.read_text(encoding="utf-8").splitlines()
    comments = [line.lstrip("# ").rstrip() for line in lines if line.startswith("#") and not _FOR_MACHINES.match(line)]
    goals = [line.partition(":")[2].strip() for line in comments if line.lower().startswith("goal:")]
    return next((line for line in [*goals, *comments] if line), "")


def format_help(configs: Path = CONFIGS) -> str:
    """The whole page: groups, common overrides, experiments, where results go."""
    groups, defaults = read_groups(configs), read_default_choices(configs / "train.yaml")
    lines = [
        "Lightbox trains, tests and records one image classification run.",
        "",
        "  python train.py [GROUP=CHOICE ...] [KEY=VALUE ...] [-m]",
        "",
        "Groups, with the default in brackets (python train.py --help GROUP lists its keys):",
    ]
    for group, choices in groups.items():
        marked = [f"[{choice}]" if choice == defaults.get(group) else choice for choice in choices]
        lines += _wrap(f"  {group:<11} ", marked)
    lines += ["", "Common overrides:"]
    lines += [f"  {example:<{max(len(each) for each, _ in COMMON)}}  {meaning}" for example, meaning in COMMON]
    if "experiment" in groups:
        lines += [
            "",
            "Experiments (experiment=NAME; the file tells hardware, time and measured result):",
        ]
        width = max(map(len, groups["experiment"])) + 2
        for name in groups["experiment"]:
            claim = read_claim(configs / "experiment" / f"{name}.yaml")
            lines.append(_shorten(f"  {name:<{width}}{claim}"))
    lines += [
        "",
        "Results: runs/<experiment or data-model>/<name or time>/ with config.yaml, summary.json,",
        "metrics.csv, checkpoints/{best,last}.ckpt, splits.csv, stages.csv, train.log, report.html",
        "and figures/; the last line says `run: PATH`.",
        "Exit codes: 0 done, 1 our bug, 2 configuration or data, 3 bad files, 4 storage, 5 numeric,",
        "124 time-out of a process, 130 and 143 signals.",
    ]
    return "\n".join(lines)


def format_group(group: str, choice: str | None = None, configs: Path = CONFIGS) -> str:
    """One group file as it stands, with its comments; without a choice the default one, else the first.

    Raises UserError for an unknown group or choice.
    """
    groups, defaults = read_groups(configs), read_default_choices(configs / "train.yaml")
    if group not in groups:
        raise UserError(unknown("group", group, list(groups)))
    choices = groups[group]
    if choice is None:
        choice = defaults.get(group) if defaults.get(group) in choices else choices[0]
    if choice not in choices:
        raise UserError(unknown(group, str(choice), choices))
    text = (configs / group / f"{choice}.yaml").read_text(encoding="utf-8").rstrip()
    shown = "\n".join(line for line in text.splitlines() if not _FOR_EDITORS.match(line))
    head = _wrap(f"{group}: ", [f"[{each}]" if each == choice else each for each in choices])
    where = f"configs/{group}/{choice}.yaml" + ("" if "@package" in text else f", keys are {group}.KEY=VALUE")
    return "\n".join([*head, f"{where}:", "", shown])


def print_help(arguments: Sequence[str] = ()) -> None:
    """Print the help page, or the files of the groups that the arguments name.

    `--help optimizer` and `optimizer=sgd --help` show that group; all other overrides are passed over.
    Raises UserError for a word that is no group, or a choice that its group does not have.
    """
    groups, pages = read_groups(), []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            continue
        if not equals:
            pages.append(format_group(name))
        elif name in groups and value not in ("", "null") and not _is_bare_name(name, value, groups[name]):
            pages.append(format_group(name, value))
    print_text("\n\n".join(pages) or format_help())


def _is_bare_name(group: str, choice: str, with_files: Sequence[str]) -> bool:
    """Whether a choice does without a file of its own, as `model=vgg16` and `optimizer=NAdam` do."""
    if choice in with_files:
        return False
    from settings.reading.composition import OPEN  # half as long again, so only where it is asked for

    if group in OPEN and OPEN[group].section(choice) is None:
        raise UserError(OPEN[group].unknown(choice))
    return group in OPEN


def print_text(text: str) -> None:
    """Print a page; a reader who has seen enough of it is no mistake."""
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head` has seen enough; Python would complain at exit, too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wrap(head: str, words: Sequence[str], width: int = 100) -> list[str]:
    """The words after the head, continued below the first word."""
    lines = [head]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append(" " * len(head))
        lines[-1] += word + " "
    return [line.rstrip() for line in lines]


def _shorten(line: str, width: int = 100) -> str:
    return line if len(line) <= width else line[: width - 3].rstrip() + "..."
