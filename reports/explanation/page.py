"""RUN/explanations: a page, a PNG and rows of numbers for each method, and a link from the run's report."""

import shlex
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports import page
from reports.explanation.believed import faithfulness
from reports.explanation.learnt import feature_maps, kernels
from reports.explanation.maps import COLUMNS, METHODS, SMALL, map_figure, map_parts, map_rows
from reports.explanation.subject import Subject
from reports.figures import record_figure
from settings.commands.explain import WHAT, Explanation
from settings.errors import UserError
from settings.run_folder import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

OTHERS = {"faithfulness": faithfulness, "kernels": kernels, "feature_maps": feature_maps}
"""`what` -> what makes its section and writes its files, where it is no map an image."""


def write_explanations(record: RunFolder, subject: Subject, job: Explanation, *, report: Path) -> Path:
    """Write everything; returns the page.

    Args:
        record: the open folder of the results.
        subject: what is explained.
        job: what to draw, and how.
        report: the run's page, which gets a link where it is there.

    Raises:
        UserError: not one of the methods is for this net.
    """
    sections: list[page.Section | None] = []
    rows: list[Sequence[Any]] = []
    refused: list[str] = []
    chosen = job.what or tuple(WHAT)
    if not job.what and subject.images.shape[-1] > SMALL:  # it scores each image two hundred times
        chosen = tuple(what for what in WHAT if what != "faithfulness")
        refused.append("faithfulness: takes minutes for images of this size; ask for it with what=faithfulness")
    for number, what in enumerate(chosen, start=1):
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of fonts that lack a letter of a class name
                if what in METHODS:
                    maps = METHODS[what].maps(subject, job)
                    sections.append(map_section(record, subject, what, maps))
                    rows += map_rows(subject, maps, what)
                else:
                    sections.append(OTHERS[what](subject, job, record))
        except UserError as error:
            refused += [f"{what}: {one.removeprefix(f'{what}: ')}" for one in error.messages]
            continue
        print(f"{number}/{len(chosen)} {what}: {time.perf_counter() - start:.1f} s", flush=True)
    if not sections:
        raise UserError(*refused)
    for line in refused:
        print(f"left out: {line}", flush=True)
    if rows:
        record.write_table("maps.csv", COLUMNS, rows)
    run = report.parent
    record.write(
        "report.html",
        page.page(
            title=f"{run.parent.name} / {run.name}: where it looks",
            status="explanation",
            lead=f"{subject.name} · {len(subject.keys)} images · {time.strftime('%Y-%m-%d %H:%M')}",
            sections=[
                *sections,
                page.section("Left out", page.bullets(refused)),
                page.section("Repeat it", page.command(shlex.join(["python", "explain.py", *job.command]))),
            ],
        ),
    )
    if report.is_file():
        try:
            page.add_link(report, record.folder / "report.html", "where it looks")
        except (OSError, ValueError, UserError) as error:
            print(f"no link from the run's report: {error}", flush=True)
    print(f"explanations: {record.folder}", flush=True)
    return record.folder / "report.html"


def map_section(record: RunFolder, subject: Subject, what: str, maps: "Tensor") -> page.Section | None:
    """The maps of one method, on the page and as a picture."""
    method = METHODS[what]
    record_figure(record, what, map_figure(subject, maps, method.title, method.unit))
    return page.section(method.title, *map_parts(subject, maps, method.unit), note=method.note)
