"""Which run is meant: run folders, names, experiments, checkpoint files, lists and globs; standard library only.

All scripts and `load_run` ask here, so what one of them prints every other takes.
"""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from settings.errors import UserError, nearest
from settings.paths import ROOT, as_on_disk, nfc
from settings.runs import all_runs, has_checkpoint, identity, in_use, read_summary, rooted, started

MARKS = ("config.yaml", "summary.json", "metrics.csv", "checkpoints")
"""A folder that holds one of these is a run."""
DEEPEST = 4
"""Folders below a folder of runs in which runs are looked for."""
NO_CHECKPOINTS = (".json", ".yaml", ".csv", ".html", ".log")
"""Endings of the other files of a run folder; a checkpoint may be called whatever else."""
_WILD = frozenset("*?[")


def runs_folder(given: str | None = None) -> Path:
    """The folder of all runs: `paths.runs` as typed, from the working folder on; else that of configs/train.yaml."""
    if given is not None:
        return Path.cwd() / Path(given).expanduser()
    from settings.reading import files

    paths = files.read(files.FOLDER / "train.yaml", "train.yaml").content.get("paths")
    return rooted(paths.get("runs", "runs") if isinstance(paths, dict) else "runs")


def find_runs(words: Sequence[str], runs: Path, *, key: str = "run", newest: bool = False) -> list[Path]:
    """Run folders and checkpoint files, as absolute paths, each once, in the order in which they are named.

    A word is a path (from the working folder, the project's root or the runs folder), the name of a run, `KIND/NAME`,
    a folder of runs such as an experiment's, a checkpoint file, a glob of these, or several of them with commas
    between. A path or name may hold commas, too.

    Args:
        words: what was typed.
        runs: folder of all runs.
        key: how messages call what was typed; empty for words without a key.
        newest: of a folder of runs take the one that was started last, of those with a checkpoint if any has one;
            else all.

    Raises:
        UserError: what cannot be found, all of it, with the nearest names.
    """
    found: dict[Path, None] = {}
    wrong: list[str] = []
    for word in words:
        for part in [word] if _named(word, runs) else word.split(","):
            try:
                meant = _meant(part.strip(), runs, newest=newest)
            except UserError as error:
                said = part.strip() or word
                wrong += [f"{key}={said}: {one}" if key else f"{said}: {one}" for one in error.messages]
            else:
                found.update(dict.fromkeys(meant))
    if wrong:
        raise UserError(*wrong)
    return list(found)


def find_run(word: str, runs: Path, *, key: str = "run") -> Path:
    """The one run folder or checkpoint file that is meant; of a folder of runs the newest, and a line says which.

    Raises:
        UserError: there is none, or a list, a glob or a name means several.
    """
    found = find_runs([word], runs, key=key, newest=True)
    if len(found) > 1:
        shown = ", ".join(str(one) for one in found[:4])
        raise UserError(f"{f'{key}=' if key else ''}{word}: names {len(found)} runs, and one is needed: {shown}")
    return found[0]


def run_named(word: str, runs: Path) -> Path | None:
    """The one run or checkpoint that a word means, by path or name; None where it means none, or several."""
    path = Path(word)
    if path.is_absolute() and not path.exists() and path.is_relative_to(Path.cwd()):
        word = str(path.relative_to(Path.cwd()))  # what was typed, made absolute
    found = _named(word, runs)
    return found[0] if len(found) == 1 else None


def all_below(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """The folder, if it is a run, else the runs up to so many folders below it, sorted."""
    if is_run(folder):
        yield folder
    elif depth:
        try:
            inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:
            return
        for path in inner:
            yield from all_below(path, depth - 1)


def is_run(folder: Path) -> bool:
    """Whether this is a run folder, in whatever state."""
    return folder.is_dir() and any((folder / mark).exists() for mark in MARKS)


def run_of(path: Path) -> Path:
    """The folder that belongs to a run folder or checkpoint file: the run's, or the one that a lone file lies in."""
    if path.is_dir():
        return path
    above = path.parent.parent
    return above if path.parent.name == "checkpoints" and is_run(above) else path.parent


def checkpoint_of(path: Path) -> Path:
    """A checkpoint file as it is; of a run folder best.ckpt, else last.ckpt, and a line says so.

    Raises:
        UserError: there is no such file.
    """
    if path.is_dir():
        best, last = path / "checkpoints" / "best.ckpt", path / "checkpoints" / "last.ckpt"
        if not best.is_file() and last.is_file():
            print(f"{path} has no best.ckpt: it has not been validated; last.ckpt is taken", file=sys.stderr)
            return last
        path = best
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    return path


def resumed_folder(*, resume: str, name: str | None, runs: Path, kind: str) -> Path | None:
    """The folder of the run that `resume` means; `None` where `resume=auto` has nothing to go on from.

    Args:
        resume: `auto`, `last` (or `true`), `best`, a run folder, a name under the runs folder, or a checkpoint file.
        name: the run's own name, for `auto`.
        runs: folder of all runs.
        kind: `<experiment>` or `<data>-<model>`, for `auto`.

    Raises:
        UserError: there is no such run, or it has no checkpoint.
    """
    if resume == "auto":
        own = identity(name)
        if own is None:
            raise UserError("resume=auto needs to know which run it is: add name=ID")
        folder = as_on_disk(runs / kind / own)
        return folder if has_checkpoint(folder) else None
    if resume.lower() in ("last", "true", "best"):
        return _last_run(runs, best=resume == "best")
    return _resumable(resume, runs)


def _resolved(path: Path) -> Path:
    """Where links lead; a loop of links leads to itself."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _at(path: Path, depth: int = DEEPEST) -> list[Path]:
    """The run or checkpoint that lies at a path, or the runs below it; nothing for a path that no file could have."""
    try:
        if path.is_file():
            return [] if path.suffix.lower() in NO_CHECKPOINTS else [_resolved(path)]
        return [_resolved(one) for one in all_below(path, depth)] if path.is_dir() else []
    except (OSError, ValueError):
        return []


def _named(word: str, runs: Path) -> list[Path]:
    """What a word means as a path, else the runs of this name."""
    if not word.strip() or "\0" in word:
        return []
    path = Path(word).expanduser()
    for base in dict.fromkeys((Path.cwd(), ROOT, runs)):
        if found := _at(as_on_disk(base / path)):
            return found
    return [_resolved(folder) for folder in all_below(runs) if nfc(folder.name) == nfc(word)]


def _meant(part: str, runs: Path, *, newest: bool) -> list[Path]:
    """What one part of a list means, at least one path; messages lack the part itself."""
    if not part or "\0" in part:
        raise UserError("a name is empty; lists are written A,B,C")
    found = _named(part, runs)
    if len(found) > 1:
        if all(nfc(folder.name) == nfc(part) for folder in found):
            raise UserError(f"{len(found)} runs have this name: {', '.join(str(one) for one in found[:4])}")
        return [_newest(part, found)] if newest else found
    if not found and _WILD & set(part):
        pattern = str(Path(part).expanduser())
        bases = dict.fromkeys((Path.cwd(), ROOT, runs))
        places = [one for base in bases for one in _glob(base, pattern)] + _glob(runs, f"*/{pattern}")
        # An experiment's runs lie right in it: `*` in the project's root is not every run of every folder there.
        found = [run for one in places if one.is_dir() or one.suffix == ".ckpt" for run in _at(one, depth=1)]
        if not found:
            raise UserError(f"matches no run folder and no checkpoint (looked in {Path.cwd()} and {runs})")
    if not found:
        raise UserError(_unknown(part, runs))
    return found


def _newest(part: str, folders: Sequence[Path]) -> Path:
    folder = max([one for one in folders if has_checkpoint(one)] or folders, key=started)
    print(f"{part} holds {len(folders)} runs; the newest is taken: {folder}", file=sys.stderr)
    return folder


def _unknown(part: str, runs: Path) -> str:
    path = Path(part).expanduser()
    if any((base / path).exists() for base in (Path.cwd(), ROOT)):
        return "is no run folder and no checkpoint"
    folders = list(all_below(runs))
    names = [*(folder.name for folder in folders), *(folder.parent.name for folder in folders)]
    close = nearest(path.name, list(dict.fromkeys(names)))
    hint = f"; nearest: {', '.join(close)}" if close else ""
    return f"no such run folder, name or checkpoint (looked in {Path.cwd()} and {runs}){hint}"


def _glob(base: Path, pattern: str) -> list[Path]:
    found = sorted(glob.glob(pattern, root_dir=base))  # noqa: PTH207  # `..` and absolute too
    return [base / one for one in found]


def _resumable(resume: str, runs: Path) -> Path:
    """The run of a folder, name or checkpoint, which has what it takes to go on."""
    path = find_run(resume, runs, key="resume")
    folder = run_of(path)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"resume={resume}: no such checkpoint of a run (its folder holds config.yaml)")
    if not has_checkpoint(folder):
        raise UserError(f"resume={resume}: the run {folder} has no checkpoint yet; start it again")
    return folder


def _last_run(runs: Path, *, best: bool) -> Path:
    """The newest unfinished run, or the newest with a best checkpoint."""
    for folder in all_runs(runs):
        if best and (folder / "checkpoints" / "best.ckpt").is_file():
            return folder
        unfinished = read_summary(folder).get("status") != "finished"
        if not best and unfinished and has_checkpoint(folder) and not in_use(folder):
            return folder
    what = "run with a best checkpoint" if best else "unfinished run with a checkpoint"
    raise UserError(f"resume={'best' if best else 'last'}: there is no {what} in {runs}")
