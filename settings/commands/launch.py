"""From a command line to an exit code: help, the resolved configuration, one run, or a grid of runs."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from settings.commands.output import lasting_output
from settings.errors import (
    NothingLeft,
    UserError,
    open_files_error,
    shorten,
    storage_error,
    unknown,
    worker_error,
)
from settings.stop import Stopped
from settings.world import OURS, launched

OUR_BUG = 1
SIGNALLED = 128
OPEN_FILES = 65536


def launch(
    run: Callable[[Any], Any],
    argv: Sequence[str],
    *,
    compose_jobs: Callable[[list[str], bool], list[Any]] | None = None,
    help_page: Callable[[], str] | None = None,
    stops_with_reader: bool = False,
) -> int:
    """Check the whole command line, then run its jobs one after the other.

    Args:
        run: takes a checked configuration (`RunConfig`).
        argv: the arguments behind the script's name.
        compose_jobs: turns overrides into checked jobs; without it, those of `train.py`.
        help_page: what --help prints; without it, the page of `train.py` and of its groups.
        stops_with_reader: whether the work is for the reader of standard output, and ends with it; else it goes on.

    Returns:
        0, or the code of the first job that failed: its exception's `exit_code` (2: user's mistake), or 1.
    """
    with contextlib.nullcontext() if stops_with_reader else lasting_output():
        return _launch(run, argv, compose_jobs, help_page)


def _launch(
    run: Callable[[Any], Any],
    argv: Sequence[str],
    compose_jobs: Callable[[list[str], bool], list[Any]] | None,
    help_page: Callable[[], str] | None,
) -> int:
    show_traceback = "traceback=true" in [argument.lower() for argument in argv]
    try:
        if {"-h", "--help"} & set(argv):
            from settings.commands.help import print_help, print_text

            print_help(argv) if help_page is None else print_text(help_page())
            return 0
        if compose_jobs is None and "--schema" in argv:
            import json

            from settings.commands.help import print_text
            from settings.schema.json_schema import json_schema

            print_text(json.dumps(json_schema(), indent=1, ensure_ascii=False))
            return 0
        if os.environ.get(OURS):  # by the run that started this process
            from settings.schema.run_config import taken_over

            return _run_all(run, [taken_over(sys.stdin.buffer.readline().decode())])
        overrides, multirun, only_show = _options(argv)
        with without_collector():
            if compose_jobs is None:
                from settings.reading.compose import compose_jobs
            assert compose_jobs is not None
            jobs = compose_jobs(overrides, multirun)
    except Exception as error:
        return _report(error, show_traceback)
    if only_show:
        print("---\n".join(config.to_yaml() for config in jobs), end="")
        return 0
    return _run_all(run, jobs)


@contextlib.contextmanager
def without_collector() -> Iterator[None]:
    """Let the modules of a fresh process load without the garbage collector: a fifth of the way to the first step.

    It would look through all of them again and again as they become more, and none is ever garbage; so they are left
    out of later looks, too. In a process that has torch already (a notebook, a second run) nothing changes.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _run_all(run: Callable[[Any], Any], jobs: list[Any]) -> int:
    """One job after the other; the code of the first that failed.

    A grid that was stopped goes on by the same line: its jobs that are over are told and passed over, but not all.
    """
    allow_open_files()
    world = launched()
    speaks = world is None or world.rank == 0
    first_failure = over = 0
    for index, config in enumerate(jobs):
        if len(jobs) > 1 and speaks:
            print(f"job {index + 1}/{len(jobs)}: {' '.join(config.command)}", flush=True)
        for name in config.dropped_augment if speaks else ():
            print(f"augment.{name} is left out: the data set forbids it (data.forbid)", flush=True)
        try:
            run(config)
        except (Exception, Stopped) as error:
            code = _report(error, config.traceback)
            if isinstance(error, NothingLeft):
                over += 1
                if over < len(jobs):
                    continue
            first_failure = first_failure or code
            if code > SIGNALLED:  # stopped by a person or a scheduler, who means the whole grid
                return code
    return first_failure


def allow_open_files() -> None:
    """Use the whole of the system's limit of open files: each batch of a data worker takes some."""
    try:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ImportError, ValueError, OSError):  # Windows, or a system with a rule of its own
        return


def _options(argv: Sequence[str]) -> tuple[list[str], bool, bool]:
    """Take -m and --cfg out; return the overrides, whether they make a grid, whether to only show them."""
    overrides: list[str] = []
    multirun = only_show = False
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in ("-m", "--multirun"):
            multirun = True
        elif argument in ("-c", "--cfg") or argument.startswith("--cfg="):
            what = argument.partition("=")[2] or (rest.pop(0) if rest else "")
            if what != "job":
                raise UserError(f"command line: --cfg: {unknown('part', what, ['job'])}")
            only_show = True
        else:
            overrides.append(argument)
    return overrides, multirun, only_show


def _report(error: BaseException, show_traceback: bool) -> int:
    """Say what went wrong on standard error; a traceback for our own bugs, or if it was asked for."""
    error = storage_error(error) or open_files_error(error) or worker_error(error) or error
    code = getattr(error, "exit_code", None)
    if getattr(error, "told", False):  # by another process of the run
        assert isinstance(code, int)
        return code
    if not isinstance(code, int):
        traceback.print_exception(error)
        return OUR_BUG
    if show_traceback:
        traceback.print_exception(error)
    for line in shorten(str(error).splitlines()):
        print(line.encode(errors="backslashreplace").decode(), file=sys.stderr)
    return code
