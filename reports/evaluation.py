"""What an evaluation leaves behind: metrics.json, tables as CSV, figures, and a page to look at."""

import json
import shlex
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.analysis.class_scores import class_scores, confusion
from models.analysis.metrics import MEANING, SHARES, PerImage, intervals, per_image, reliability, scores
from models.predictor import average
from reports import links, page
from reports.evaluation_sections import (
    GAIN_COLUMNS,
    calibration_section,
    class_section,
    confusion_section,
    gain_rows,
    gain_section,
    headline,
    image_sections,
    interval_text,
    lead,
    metrics_rows,
)
from reports.robustness import Robustness, say_robustness, write_robustness
from reports.terminal import print_table
from settings.run_folder import RunFolder
from settings.run_names import run_of


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    """float64 (N, K) of the images at `indices`, int64 (N,) in ascending order, and the seconds that it took."""

    probs: Tensor
    indices: Tensor
    seconds: float


def gathered(parts: Sequence[Sequence[tuple[Tensor, Tensor]]], seconds: Sequence[float]) -> Probabilities:
    """Bring the batches (indices, probabilities) of all processes into the order of the images."""
    batches = [batch for part in parts for batch in part]
    if not batches:
        return Probabilities(probs=torch.zeros(0, 0), indices=torch.zeros(0, dtype=torch.int64), seconds=sum(seconds))
    indices, order = torch.cat([one for one, _ in batches]).sort()
    return Probabilities(probs=torch.cat([one for _, one in batches])[order], indices=indices, seconds=sum(seconds))


def write_evaluation(
    record: RunFolder,
    *,
    split: str,
    views: str,
    images: Any,
    class_names: Sequence[str],
    found: Mapping[tuple[int, str], Probabilities],
    facts: Mapping[str, Any],
    pictures: Callable[[Sequence[int]], Tensor],
    robustness: Robustness | None,
    bootstrap: int,
    seed: int,
    hardest: int,
    command: Sequence[str],
) -> dict[str, float]:
    """Write everything; return the metrics, as `test/accuracy` and the like.

    Args:
        record: the open folder of the results.
        split: what was scored.
        views: how.
        images: keys, paths, splits and targets of the images.
        class_names: K names.
        found: probabilities by (number of the member, views), the centre among them.
        facts: plain values about data and members.
        pictures: images uint8 (N, C, H, W) at given indices.
        robustness: accuracy under corruptions and the like, where it was measured.
        bootstrap: resamples for the intervals.
        seed: of the resamples.
        hardest: rows of hardest.csv and easiest.csv.
        command: the overrides as typed.
    """
    members = [one["name"] for one in facts["members"]]
    probs = average([found[number, views].probs for number in range(len(members))])
    each = per_image(probs, images.targets)
    values, ends = scores(each), intervals(each, resamples=bootstrap, seed=seed)
    counts = confusion(each.targets, each.predicted, len(class_names))
    per_class = class_scores(counts, tuple(class_names))
    gains = gain_table(found, members, views, images.targets, seed=seed, resamples=bootstrap)
    metrics = {f"{split}/{name}": value for name, value in values.items()}
    trained_on = max(one["trained_on_images"] for one in facts["members"])
    document = {
        "schema": 1,
        "split": split,
        "views": views,
        "images": len(each.targets),
        "metrics": metrics,
        "intervals": {f"{split}/{name}": both for name, both in ends.items()},
        "interval": f"95 %; of {' and '.join(SHARES)} Wilson's, of the others the percentile bootstrap over the "
        f"images, {bootstrap} resamples, seed {seed}",
        "meaning": {f"{split}/{name}": MEANING[name] for name in values},
        "per_class": [vars(one) for one in per_class],
        "confusion": counts.tolist(),
        "calibration": [
            dict(zip(("low", "high", "images", "confidence", "accuracy"), row, strict=True))
            for row in reliability(each)
        ],
        "trained_on_images": trained_on,
        **facts,
    }
    runs = [run_of(Path(one["run"])) for one in facts["members"]]
    sections: list[page.Section | None] = []
    if robustness is not None:
        sections, document["robustness"] = write_robustness(record, robustness)
    record.write("metrics.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    write_tables(record, images, each, probs, class_names, hardest)
    record.write_table("gain.csv", tuple(gains[0]), [tuple(row.values()) for row in gains])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fonts that lack a letter of a class name
        record.write(
            "report.html",
            page.page(
                title=f"{' + '.join(members)}: {split}, {views}",
                status="evaluation",
                lead=lead(document, facts),
                figures=headline(values, ends, len(each.targets)),
                links=[
                    link for run in runs for link in links.of_run(record.folder, run, but=record.folder / "report.html")
                ],
                sections=[
                    gain_section(gains),
                    class_section(record, counts, class_names, per_class),
                    calibration_section(record, each),
                    *sections,
                    confusion_section(record, each, probs, counts, images, class_names, pictures),
                    *image_sections(each, probs, images, class_names, pictures),
                    page.section("Metrics", page.table(*metrics_rows(values, ends))),
                    page.section("Repeat it", page.command(shlex.join(["python", "evaluate.py", *command]))),
                    page.section("Members", *(page.facts(one) for one in facts["members"])),
                ],
            ),
        )
    say(split, values, ends, gains, trained_on, len(each.targets))
    if robustness is not None:
        say_robustness(robustness)
    print(f"evaluation: {record.folder}", flush=True)
    return metrics


def write_tables(
    record: RunFolder, images: Any, each: PerImage, probs: Tensor, class_names: Sequence[str], hardest: int
) -> None:
    """predictions.csv with every image; hardest.csv and easiest.csv, by the loss of the true class."""
    columns = ("path", "key", "split", "target", "prediction", "correct", "probability", "loss")
    table = [
        (path, key, split, class_names[target], class_names[guess], str(right).lower(), f"{sure:.9g}", f"{loss:.9g}")
        for path, key, split, target, guess, right, sure, loss in zip(
            images.paths,
            images.keys,
            images.splits,
            each.targets.tolist(),
            each.predicted.tolist(),
            each.correct.tolist(),
            each.confidence.tolist(),
            each.loss.tolist(),
            strict=True,
        )
    ]
    by_class = [f"probability of {name}" for name in class_names]
    rows = ((*row, *(f"{value:.9g}" for value in own)) for row, own in zip(table, probs.tolist(), strict=True))
    record.write_table("predictions.csv", (*columns, *by_class), rows)
    order = each.loss.argsort(descending=True, stable=True).tolist()
    record.write_table("hardest.csv", columns, [table[index] for index in order[:hardest]])
    record.write_table("easiest.csv", columns, [table[index] for index in order[::-1][:hardest]])


def gain_table(
    found: Mapping[tuple[int, str], Probabilities],
    members: Sequence[str],
    views: str,
    targets: Tensor,
    *,
    seed: int,
    resamples: int,
) -> list[dict[str, Any]]:
    """One row for each member and kind of views, and for their average: accuracy, gain, seconds an image.

    The gain of other views is against the same net's centre; the gain of an ensemble against its best member.
    """
    kinds = list(dict.fromkeys(("centre", views)))
    rows: list[dict[str, Any]] = []
    right: dict[tuple[str, str], Tensor] = {}

    def add(name: str, kind: str, parts: Sequence[Probabilities], against: tuple[str, str] | None) -> None:
        each = per_image(average([one.probs for one in parts]), targets)
        right[name, kind] = each.correct.double()
        row: dict[str, Any] = {"scored": name, "views": kind, **_chosen(scores(each))}
        row |= {"gain": None, "gain_low": None, "gain_high": None, "against": None}
        row |= {"seconds_per_image": sum(one.seconds for one in parts) / len(targets), "cost": None}
        if against is not None:
            base = next(one for one in rows if (one["scored"], one["views"]) == against)
            difference = right[name, kind] - right[against]
            low, high = _interval(difference, seed=seed, resamples=resamples)
            row |= {"gain": difference.mean().item(), "gain_low": low, "gain_high": high, "against": " ".join(against)}
            row["cost"] = row["seconds_per_image"] / base["seconds_per_image"] if base["seconds_per_image"] else None
        rows.append(row)

    for number, name in enumerate(members):
        for kind in kinds:
            add(name, kind, [found[number, kind]], None if kind == "centre" else (name, "centre"))
    if len(members) > 1:
        for kind in kinds:
            best = max(members, key=lambda name: right[name, kind].mean().item())
            parts = [found[number, kind] for number in range(len(members))]
            add(f"ensemble of {len(members)}", kind, parts, (best, kind))
    return rows


def _chosen(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in ("accuracy", "f1_macro", "loss", "ece")}


def _interval(values: Tensor, *, seed: int, resamples: int) -> tuple[float | None, float | None]:
    """95 % percentile interval of a mean: the same images are drawn for both sides of a difference."""
    if not resamples:
        return None, None
    draws = torch.Generator().manual_seed(seed)
    means = [values[torch.randint(len(values), (len(values),), generator=draws)].mean() for _ in range(resamples)]
    low, high = torch.stack(means).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def say(
    split: str,
    values: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]],
    gains: Sequence[Mapping[str, Any]],
    trained_on: int,
    count: int,
) -> None:
    """The figures on the screen."""
    rows = [(f"{split}/{name}", f"{value:.4f}", interval_text(name, intervals)) for name, value in values.items()]
    print_table(("metric", "value", "interval"), rows)
    if len(gains) > 1:
        print_table(GAIN_COLUMNS, gain_rows(gains))
    if trained_on:
        print(f"{trained_on} of the {count} images were trained on: no measure of new images", flush=True)
