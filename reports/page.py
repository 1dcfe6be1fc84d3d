"""report.html from plain values: one file, styles and pictures within, no script, nothing fetched."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # compare.py writes its page without torch
    from torch import Tensor

    from models.analysis.class_scores import ClassScore, HardImage

STYLE = Path(__file__).with_name("report.css")
LARGEST_TILE = 224
"""Pixels; larger images are shown smaller, so that the page stays light."""
PHOTO = 64
"""Pixels from which an image is smoothed when it is enlarged; below, its pixels are shown."""


def page(*, title: str, status: str, lead: str, sections: Iterable[str]) -> str:
    """The whole page; `sections` are HTML already, all else is text.

    The policy in the head lets a browser fetch nothing and run nothing, whatever a class name holds.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
<header>
<span class="status {escape(status)}">{escape(status)}</span>
<h1>{escape(title)}</h1>
<p>{escape(lead)}</p>
</header>
{"".join(sections)}
</main>
</body>
</html>
"""


def section(heading: str, *parts: str, note: str = "") -> str:
    """A heading, a note below it, and HTML; nothing where there are no parts."""
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    said = f"<p>{escape(note)}</p>\n" if note else ""
    return f"<section>\n<h2>{escape(heading)}</h2>\n{said}{content}\n</section>\n"


def cards(figures: Sequence[tuple[str, str, str]]) -> str:
    """Headline figures: name, value, and what stands small below; the first is the widest."""
    found = [
        f'<div class="card{" first" if index == 0 else ""}"><span>{escape(name)}</span><b>{escape(value)}</b>'
        f"<small>{escape(small)}</small></div>"
        for index, (name, value, small) in enumerate(figures)
    ]
    return f'<div class="cards">\n{chr(10).join(found)}\n</div>\n'


def pictures(files: Mapping[str, Path | bytes], *, kind: str = "chart") -> str:
    """PNGs side by side: what each shows -> file or content. A `chart` is inverted on a dark page, a `sheet` is not."""
    found = [
        f'<figure><img class="{kind}" src="{_data_uri(png if isinstance(png, bytes) else png.read_bytes())}" '
        f'alt="{escape(words)}"></figure>'
        for words, png in files.items()
    ]
    return f'<div class="{"charts" if kind == "chart" else "sheets"}">\n{chr(10).join(found)}\n</div>' if found else ""


def class_table(scores: Sequence[ClassScore], *, of: str = "images") -> str:
    """Precision, recall, F1 and support of each class, and their means over the classes that occur."""

    def row(name: str, values: Iterable[float | None], support: int, kind: str = "") -> str:
        cells = "".join(f"<td>{'–' if value is None else f'{value:.3f}'}</td>" for value in values)
        return f"<tr{kind}><td>{escape(name)}</td>{cells}<td>{support}</td></tr>"

    seen = [score for score in scores if score.support]
    means = [
        sum(getattr(score, key) or 0.0 for score in seen) / len(seen) if seen else None
        for key in ("precision", "recall", "f1")
    ]
    rows = [row(score.name, (score.precision, score.recall, score.f1), score.support) for score in scores]
    rows.append(row("mean", means, sum(score.support for score in scores), ' class="mean"'))
    return table(("class", "precision", "recall", "F1", of), rows)


def confusions_table(counts: Tensor, class_names: Sequence[str], *, most: int = 10, of: str = "images") -> str:
    """The mistakes that are made most often, one a row; nothing where there are none."""
    mistakes = counts.clone()
    mistakes.fill_diagonal_(0)
    order = mistakes.flatten().argsort(descending=True, stable=True)[:most].tolist()
    found = [(index // len(class_names), index % len(class_names)) for index in order if mistakes.flatten()[index]]
    rows = [
        f"<tr><td>{escape(class_names[true])}</td><td>{escape(class_names[guess])}</td>"
        f"<td>{mistakes[true, guess]}</td><td>{mistakes[true, guess] / counts[true].sum():.1%}</td></tr>"
        for true, guess in found
    ]
    return f"<h3>Most frequent mistakes</h3>{table(('true', 'taken for', of, 'of the class'), rows)}" if rows else ""


def tiles(images: Sequence[HardImage], names: Sequence[str]) -> str:
    """Images with what they are and what they were taken for; `names` are the file keys of all test images."""
    found = [
        f'<figure title="{escape(names[one.index])}"><img{_photo(one.image)} src="{_data_uri(_png(one.image))}" '
        f'alt="{escape(f"{one.true}, predicted {one.predicted}")}">'
        f"<figcaption>{escape(one.true)}<br>→ {escape(one.predicted)}<br>"
        f"<small>loss {one.loss:.2f}<br>{escape(names[one.index])}</small></figcaption></figure>"
        for one in images
    ]
    return f'<div class="tiles">\n{chr(10).join(found)}\n</div>' if found else ""


def guesses(images: Sequence[tuple[str, Tensor, Sequence[tuple[str, float]]]]) -> str:
    """Images without a label: name, pixels uint8 (C, H, W), and the likeliest classes with their probability."""
    found = []
    for name, image, likeliest in images:
        said = "<br>".join(f"{escape(guess)} {probability:.0%}" for guess, probability in likeliest)
        found.append(
            f'<figure title="{escape(name)}"><img{_photo(image)} src="{_data_uri(_png(image))}" '
            f'alt="{escape(f"predicted {likeliest[0][0]}")}">'
            f"<figcaption>{said}<br><small>{escape(name)}</small></figcaption></figure>"
        )
    return f'<div class="tiles">\n{chr(10).join(found)}\n</div>' if found else ""


def values_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Plain values in rows below their columns; the first of a row is its name."""
    lines = ["".join(f"<td>{escape(str(value))}</td>" for value in row) for row in rows]
    return table(columns, [f"<tr>{line}</tr>" for line in lines])


def facts(values: Mapping[str, Any]) -> str:
    """A name and a value a row; nothing where there are none."""
    if not values:
        return ""
    rows = [f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>" for name, value in values.items()]
    return f'<div class="scroll"><table class="facts"><tbody>\n{chr(10).join(rows)}\n</tbody></table></div>'


def command(text: str) -> str:
    """A command line, as it is typed."""
    return f'<pre class="command">{escape(text)}</pre>'


def folded(summary: str, text: str) -> str:
    """A text behind a line that opens it."""
    return f"<details><summary>{escape(summary)}</summary>\n<pre>{escape(text)}</pre></details>"


def table(columns: Iterable[str], rows: Iterable[str]) -> str:
    """A table that scrolls sideways within itself; `rows` are HTML already."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join(rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _photo(image: Tensor) -> str:
    return ' class="photo"' if min(image.shape[-2:]) >= PHOTO else ""


def _png(image: Tensor) -> bytes:
    from PIL import Image

    picture = Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy())  # (H, W) or (H, W, 3)
    picture.thumbnail((LARGEST_TILE, LARGEST_TILE))
    png = io.BytesIO()
    picture.save(png, format="png")
    return png.getvalue()


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
