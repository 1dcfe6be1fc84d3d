"""The parity table of an exported net: on the screen, as CSV and as JSON beside the file."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.analysis.parity import TOLERANCE, Link
from reports.predictions import written_whole
from reports.terminal import table_text

COLUMNS = {
    "name": "link",
    "logits": "greatest difference of a logit",
    "probability": "of a probability",
    "changed": "changed predictions",
    "note": "note",
}


def table(links: Sequence[Link]) -> str:
    """Lay the links below each other, differences to the reloaded checkpoint beside."""
    return table_text(list(COLUMNS.values()), [[_cell(getattr(one, key)) for key in COLUMNS] for one in links])


def write_parity(file: Path, links: Sequence[Link], *, images: int, origin: str, about: dict[str, Any]) -> None:
    """Write FILE-parity.csv and FILE-parity.json; the latter with what the exported file says of itself."""
    rows = [{**asdict(one), "agrees": one.agrees} for one in links]
    with written_whole(file.with_name(f"{file.stem}-parity.csv"), "output") as text:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with written_whole(file.with_name(f"{file.stem}-parity.json"), "output") as text:
        found = {"images": images, "origin": origin, "tolerance": TOLERANCE, "links": rows, "file": about}
        text.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.2g}" if isinstance(value, float) else str(value)
