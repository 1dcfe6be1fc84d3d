"""What `run=` means: run folders, names under the runs folder, checkpoint files, lists and globs of them."""

from __future__ import annotations

import glob
from pathlib import Path

from settings.errors import UserError, nearest
from settings.paths import ROOT
from settings.runs import all_runs

_WILD = frozenset("*?[")


def find_runs(text: str, runs: Path) -> list[Path]:
    """Run folders and checkpoint files, as absolute paths, each once, in the order in which they are named.

    Args:
        text: one or several, with commas between them: a path (from the working folder or the project's root), a name
            under the runs folder (`NAME` or `KIND/NAME`), or a glob of either. A path may hold commas, too.
        runs: folder of all runs.

    Raises:
        UserError: what cannot be found, all of it, with the nearest names.
    """
    found: list[Path] = []
    wrong: list[str] = []
    for part in [text] if _at(text) else [part.strip() for part in text.split(",")]:
        try:
            found += _found(part, runs)
        except UserError as error:
            wrong += error.messages
    if wrong:
        raise UserError(*wrong)
    return list(dict.fromkeys(found))


def is_run(path: Path) -> bool:
    """Whether this is a run folder or a checkpoint file."""
    if path.is_dir():
        return (path / "summary.json").is_file() or (path / "checkpoints").is_dir()
    return path.suffix == ".ckpt" and path.is_file()


def run_of(path: Path) -> Path:
    """The folder that belongs to a run folder or checkpoint file: the run's, or the one that a lone file lies in."""
    if path.is_dir():
        return path
    above = path.parent.parent
    return above if path.parent.name == "checkpoints" and is_run(above) else path.parent


def _at(text: str) -> Path | None:
    """The path itself, if it is there."""
    if not text or "\0" in text:
        return None
    path = Path(text).expanduser()
    return next((one for one in (Path.cwd() / path, ROOT / path) if one.exists()), None)


def _found(part: str, runs: Path) -> list[Path]:
    if not part or "\0" in part:
        raise UserError("run=: a name is empty; lists are written run=A,B,C")
    path = _at(part)
    if path is not None:
        if path.suffix != ".ckpt" and not is_run(path):
            inner = sorted(one.name for one in path.iterdir() if is_run(one)) if path.is_dir() else []
            hint = f"; it holds {len(inner)} of them: run='{part.rstrip('/')}/*'" if inner else ""
            raise UserError(f"run={part}: is no run folder and no checkpoint{hint}")
        return [path.resolve()]
    if _WILD & set(part):
        pattern = str(Path(part).expanduser())
        named = [Path(one) for base in dict.fromkeys((Path.cwd(), ROOT, runs)) for one in _glob(base, pattern)]
        named += [Path(one) for one in _glob(runs, f"*/{pattern}")]
        matching = [one.resolve() for one in named if is_run(one)]
        if not matching:
            raise UserError(f"run={part}: matches no run folder and no checkpoint (looked in {Path.cwd()} and {runs})")
        return matching
    named = [one for one in (runs / part, *sorted(runs.glob(f"*/{glob.escape(part)}"))) if is_run(one)]
    if len(named) > 1:
        raise UserError(f"run={part}: {len(named)} runs have this name: {', '.join(str(one) for one in named[:4])}")
    if named:
        return [named[0].resolve()]
    inner = [one.name for one in (runs / part).iterdir() if is_run(one)] if (runs / part).is_dir() else []
    if inner:
        raise UserError(
            f"run={part}: is a folder of {len(inner)} runs; name one, or take all: run='{part.rstrip('/')}/*'"
        )
    close = nearest(Path(part).name, [folder.name for folder in all_runs(runs)])
    hint = f"; nearest: {', '.join(close)}" if close else ""
    raise UserError(f"run={part}: no such run folder, name or checkpoint (looked in {Path.cwd()} and {runs}){hint}")


def _glob(base: Path, pattern: str) -> list[str]:
    return sorted(str(base / one) for one in glob.glob(pattern, root_dir=base))  # noqa: PTH207  # `..` and absolute too
