"""Pages from plain values: one file, styles and pictures within, no script, nothing fetched.

A page is a header and sections of parts; `templates/` says how each looks, and Jinja2 escapes every value.
"""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from settings.stored_files import read_text
from settings.whole_file import write_bytes

if TYPE_CHECKING:  # compare.py writes its page without torch
    from torch import Tensor

    from models.analysis.class_scores import ClassScore, HardImage
    from reports.links import Link

TEMPLATES = Path(__file__).with_name("templates")
LARGEST_TILE = 224
"""Pixels; larger images are shown smaller, so that the page stays light."""
LONG = 4
"""Sections from which a page has a line of contents."""
PHOTO = 64
"""Pixels from which an image is smoothed when it is enlarged; below, its pixels are shown."""


@dataclass(frozen=True)
class Part:
    """One piece of a section: a macro of `templates/parts.html`, and its arguments."""

    kind: str
    content: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, a note below it, and parts; `side_by_side` sets the first beside the others, where there is room."""

    heading: str
    note: str
    parts: Sequence[Part]
    side_by_side: bool


def page(
    *,
    title: str,
    status: str,
    lead: str,
    figures: Sequence[tuple[str, str, str]] = (),
    links: Sequence[Link] = (),
    sections: Iterable[Section | None],
) -> str:
    """The whole page.

    Its policy lets a browser fetch nothing and run nothing, whatever a class name holds.

    Args:
        title: of the page.
        status: a word above it.
        lead: a line below it.
        figures: the headline: name, value, and what stands small below; the first is the widest.
        links: where else to look.
        sections: in order; None is passed over. A page of many has a line of contents.
    """
    shown = [one for one in sections if one is not None]
    template = _templates().get_template("base.html")
    long = len(shown) >= LONG
    values = {"title": title, "status": status, "lead": lead, "figures": figures, "links": links, "sections": shown}
    return template.render(**values, contents=long)


def section(heading: str, *parts: Part | None, note: str = "", side_by_side: bool = False) -> Section | None:
    """The parts that there are, below their heading; None where there are none."""
    content = [part for part in parts if part is not None]
    return Section(heading=heading, note=note, parts=content, side_by_side=side_by_side) if content else None


def pictures(files: Mapping[str, Path | bytes], *, kind: str = "chart") -> Part | None:
    """PNGs side by side: what each shows -> file or content. A `chart` is inverted on a dark page, a `sheet` is not."""
    found = [(words, _data_uri(png if isinstance(png, bytes) else png.read_bytes())) for words, png in files.items()]
    return Part("pictures", {"files": found, "kind": kind}) if found else None


def class_table(scores: Sequence[ClassScore], *, of: str = "images") -> Part:
    """Precision, recall, F1 and support of each class, and their means over the classes that occur."""

    def row(name: str, values: Iterable[float | None], support: int) -> list[Any]:
        return [name, *("–" if value is None else f"{value:.3f}" for value in values), support]

    seen = [score for score in scores if score.support]
    means = [
        sum(getattr(score, key) or 0.0 for score in seen) / len(seen) if seen else None
        for key in ("precision", "recall", "f1")
    ]
    rows = [row(score.name, (score.precision, score.recall, score.f1), score.support) for score in scores]
    rows.append(row("mean", means, sum(score.support for score in scores)))
    return table(("class", "precision", "recall", "F1", of), rows, ends_in_mean=True)


def confusions_table(counts: Tensor, class_names: Sequence[str], *, most: int = 10, of: str = "images") -> Part | None:
    """The mistakes that are made most often, one a row; None where there are none."""
    mistakes = counts.clone()
    mistakes.fill_diagonal_(0)
    order = mistakes.flatten().argsort(descending=True, stable=True)[:most].tolist()
    found = [(index // len(class_names), index % len(class_names)) for index in order if mistakes.flatten()[index]]
    rows = [
        (
            class_names[true],
            class_names[guess],
            int(mistakes[true, guess]),
            f"{mistakes[true, guess] / counts[true].sum():.1%}",
        )
        for true, guess in found
    ]
    columns = ("true", "taken for", of, "of the class")
    return table(columns, rows, title="Most frequent mistakes") if rows else None


def tiles(images: Sequence[HardImage], names: Sequence[str], *, title: str = "") -> Part | None:
    """Images with what they are and what they were taken for; `names` are the file keys of all test images."""
    found = [
        _tile(
            names[one.index],
            one.image,
            alt=f"{one.true}, predicted {one.predicted}",
            lines=(("true", one.true), ("predicted", one.predicted)),
            remarks=(f"loss {one.loss:.2f}",),
        )
        for one in images
    ]
    return Part("tiles", {"images": found, "title": title}) if found else None


def guesses(images: Sequence[tuple[str, Tensor, Sequence[tuple[str, float]]]]) -> Part | None:
    """Images without a label: name, pixels uint8 (C, H, W), and the likeliest classes with their probability."""
    found = [
        _tile(
            name,
            image,
            alt=f"predicted {likeliest[0][0]}",
            lines=[(f"{probability:.0%}", guess) for guess, probability in likeliest],
        )
        for name, image, likeliest in images
    ]
    return Part("tiles", {"images": found, "title": ""}) if found else None


def captioned(images: Sequence[tuple[str, Tensor, Sequence[str], Sequence[str]]], *, title: str = "") -> Part | None:
    """Images with words below them: name, pixels uint8 (C, H, W), lines, and remarks in small print."""
    found = [
        _tile(name, image, alt=", ".join((*lines, name)), lines=[("", line) for line in lines], remarks=remarks)
        for name, image, lines, remarks in images
    ]
    return Part("tiles", {"images": found, "title": title}) if found else None


def add_link(report: Path, target: Path, words: str) -> None:
    """Add to a page that is there a link below its header to another one, once; with its relative path.

    Raises:
        UserError: it is no plain file, or larger than a page is.
    """
    address = quote(Path(os.path.relpath(target, report.parent)).as_posix())
    link = f'<p><a href="{escape(address)}">{escape(words)}</a></p>\n'
    text = read_text(report.parent, report.name)
    if link not in text:
        write_bytes(report, text.replace("</header>\n", f"</header>\n{link}", 1).encode())


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    title: str = "",
    ends_in_mean: bool = False,
    folds: bool = False,
) -> Part:
    """Plain values and links in rows below their columns; it scrolls sideways within itself.

    Args:
        columns: their names.
        rows: the first value of each is its name.
        title: above it.
        ends_in_mean: the last row is set off.
        folds: on a narrow page a row becomes a block with a line a column.
    """
    values = {"columns": columns, "rows": list(rows), "title": title, "ends_in_mean": ends_in_mean, "folds": folds}
    return Part("table", values)


def facts(values: Mapping[str, Any]) -> Part | None:
    """A name and a value a row; None where there are none."""
    return Part("facts", {"rows": list(values.items())}) if values else None


def bullets(lines: Sequence[str]) -> Part | None:
    """Sentences below each other; None where there are none."""
    return Part("bullets", {"lines": lines}) if lines else None


def command(text: str) -> Part:
    """A command line, as it is typed."""
    return Part("command", {"text": text})


def folded(summary: str, text: str) -> Part:
    """A text behind a line that opens it."""
    return Part("folded", {"summary": summary, "text": text})


@cache
def _templates() -> Any:
    """Imported with the first page, as most commands make none."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _tile(
    name: str, image: Tensor, *, alt: str, lines: Sequence[tuple[str, str]], remarks: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "name": name,
        "address": _data_uri(_png(image)),
        "is_photo": min(image.shape[-2:]) >= PHOTO,
        "alt": alt,
        "lines": lines,
        "remarks": remarks,
    }


def _png(image: Tensor) -> bytes:
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy())  # (H, W) or (H, W, 3)
    picture.thumbnail((LARGEST_TILE, LARGEST_TILE))
    png = io.BytesIO()
    picture.save(png, format="png")
    return png.getvalue()


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
