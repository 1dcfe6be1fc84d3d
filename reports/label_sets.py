"""What a multi-label prediction leaves: a row an image with each label's probability and those that are there."""

import json
from collections.abc import Callable, Sequence
from typing import IO, Any

from reports.predictions import Prediction, digits, fitted, name_width
from settings.whole_file import TableWriter


def to_plain(one: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """A row as JSON has it: path, labels, probability of each label, and the reason where there is none."""
    if one.probabilities is None:
        return {"path": one.name, "labels": None, "probabilities": None, "reason": one.reason}
    values = [float(text) for text in digits(one.probabilities)]
    return {
        "path": one.name,
        "labels": list(one.labels),
        "probabilities": dict(zip(class_names, values, strict=True)),
        "reason": None,
    }


def csv_rows(file: IO[str], class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Write the header; return what writes a row: path, labels as `a|b`, each label's probability, reason."""
    rows = TableWriter(file)
    own = ("path", "labels", "reason")
    named = [f"probability of {name}" if name in own else name for name in class_names]
    rows.writerow(["path", "labels", *named, "reason"])

    def write(one: Prediction) -> None:
        if one.probabilities is None:
            rows.writerow([one.name, *[""] * (len(class_names) + 1), one.reason])
        else:
            rows.writerow([one.name, "|".join(one.labels), *digits(one.probabilities), ""])

    return write


def json_rows(file: IO[str], class_names: Sequence[str]) -> Callable[[Prediction], None]:
    """Return what writes a row."""

    def write(one: Prediction) -> None:
        file.write(json.dumps(to_plain(one, class_names), ensure_ascii=False) + "\n")

    return write


def screen_rows(file: IO[str], class_names: Sequence[str], names: Sequence[str]) -> Callable[[Prediction], None]:
    """Return what writes a row: the labels that are there with their probabilities."""
    width = name_width(names)

    def write(one: Prediction) -> None:
        if one.probabilities is None:
            said = f"not read: {one.reason}"
        else:
            found = zip(class_names, one.probabilities.tolist(), strict=True)
            said = ", ".join(f"{name} {value:.4f}" for name, value in found if name in one.labels) or "no label"
        file.write(f"{fitted(one.name, width, keep_end=True)}  {said}\n")

    return write
