"""Links from a page to the pages and files of the runs that it is about; relative, so that a folder can be moved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from settings.runs import read_summary


@dataclass(frozen=True, kw_only=True)
class Link:
    """Words of a page that lead somewhere."""

    words: str
    href: str

    def __str__(self) -> str:
        return self.words


def to_file(page_folder: Path, path: Path, words: str) -> Link:
    """A link to a file or folder, from a page in `page_folder`."""
    try:
        there = Path(os.path.relpath(path.resolve(), page_folder.resolve())).as_posix()
    except ValueError:  # another drive of Windows
        return Link(words=words, href=path.resolve().as_uri())
    return Link(words=words, href=quote(there))


def of_run(page_folder: Path, run: Path, *, but: Path | None = None) -> list[Link]:
    """The report of a run, its evaluations and what tracks it, as far as they are there.

    Args:
        page_folder: where the page lies.
        run: the run folder.
        but: a page that needs no link: the one that is written.
    """
    found = [to_file(page_folder, run / "report.html", "report")] if (run / "report.html").is_file() else []
    for page in sorted(run.glob("evaluation/*/report.html")):
        if page != but:
            found.append(to_file(page_folder, page, f"evaluation {page.parent.name}"))
    tracking = read_summary(run).get("tracking")
    url = tracking.get("url") if isinstance(tracking, dict) else None
    if isinstance(url, str) and url.startswith(("https://", "http://")):  # nothing that a browser would run
        found.append(Link(words="tracking", href=url))
    return found


def of_files(run: Path, names: Sequence[str]) -> list[Link]:
    """The files of a run folder that are there, from a page in it."""
    return [to_file(run, run / name, name) for name in names if (run / name).exists()]
