"""What a person looks at after a run: RUN/report.html, and its pictures in RUN/figures and in every logger."""

import logging
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from models.analysis.class_scores import TestedImages, class_scores, confusion
from reports import charts, links, page, settings_table
from reports.contact_sheet import Row, contact_sheet
from reports.figures import record_figure
from settings.run_folder import RunFolder

if TYPE_CHECKING:
    from models.tasks.base import Task

log = logging.getLogger(__name__)

FILES = ("config.yaml", "summary.json", "metrics.csv", "splits.csv", "train.log")
"""Files of the run folder that the page leads to."""
DRAWS = 5
"""Draws of each image on the augmentation sheet, below the image itself."""


class Report:
    """The section `callbacks.report`.

    Args:
        hardest: test images of highest loss to show.
        augmented: training images to show with their augmentation.
    """

    def __init__(self, *, hardest: int = 24, augmented: int = 6) -> None:
        self.hardest = hardest
        self.augmented = augmented

    def write(self, record: RunFolder, task: "Task", data: Any, tested: TestedImages | None) -> None:
        """Write the page; if that fails, one line says so and the run goes on to its end.

        Args:
            record: the run folder, whose summary is complete.
            task: class names, preprocessing.
            data: draws of augmentation, names of the test images.
            tested: what the test remembers; None where there was none.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of fonts that lack a letter of a class name
                record.write("report.html", self._page(record, task, data, tested))
        except Exception as error:
            log.exception("the report failed")
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            print(f"no report.html: {reason} (the traceback is in train.log; the run is complete)", flush=True)

    def _page(self, record: RunFolder, task: "Task", data: Any, tested: TestedImages | None) -> str:
        summary = record.summary
        stopped = record.signals.received is not None
        config = (record.folder / "config.yaml").read_text(encoding="utf-8")
        lead = f"{len(task.class_names)} classes · {time.strftime('%Y-%m-%d %H:%M')}"
        if stopped:
            lead = f"Stopped by Ctrl-C; these are the results until then. {lead}"
        return page.page(
            title=f"{record.folder.parent.name} / {record.folder.name}",
            status="interrupted" if stopped else "finished",
            lead=lead,
            figures=headline(summary, tested.count if tested else 0),
            links=[*self._links(record), *links.of_files(record.folder, FILES)],
            sections=[
                page.section(
                    "Settings",
                    page.table(settings_table.COLUMNS, settings_table.settings_rows(task.card["config"]), folds=True),
                    note="What differs from the defaults, those of python train.py alone, comes first.",
                ),
                self._curves(record),
                *(self._test(record, task, data, tested) if tested and tested.count else []),
                self._augmentation(record, task, data),
                page.section("Repeat it", page.command(str(summary.get("command", "")))),
                page.section("Configuration", page.folded("config.yaml", config)),
                page.section("Environment", page.facts(environment(summary))),
            ],
        )

    def _links(self, record: RunFolder) -> list[links.Link]:
        """Evaluations of this run, what tracks it, and the run that it came from."""
        folder, parent = record.folder, record.summary.get("parent")
        found = [link for link in links.of_run(folder, folder) if link.words != "report"]
        if parent and (page_of_parent := Path(parent) / "report.html").is_file():
            found.append(links.to_file(folder, page_of_parent, "report of the run that it came from"))
        return found

    def _curves(self, record: RunFolder) -> page.Section | None:
        path, summary = record.folder / "metrics.csv", record.summary
        if not path.is_file():
            return None
        curves, best = charts.read_curves(path), summary.get("best_epoch")
        drawn = {
            "loss": charts.epoch_curves(curves, "loss", best),
            **{name: charts.epoch_curves(curves, name, best) for name in _first_metrics(summary)},
            "learning_rate": charts.rate_curve(curves),
        }
        files = {
            f"{name.replace('_', ' ')} curve": record_figure(record, name, figure)
            for name, figure in drawn.items()
            if figure is not None
        }
        return page.section("Training", page.pictures(files))

    def _test(self, record: RunFolder, task: "Task", data: Any, tested: TestedImages) -> list[page.Section | None]:
        names = task.class_names
        counts = task.confusion() if tested.labels is None else confusion(*tested.labels, len(names))
        keys = [key for key, _, split in data.split_table() if split == "test"]
        hard = tested.hardest if self.hardest else []
        if hard:
            captions = [f"{_short(one.true)}\n→ {_short(one.predicted)}" for one in hard]
            sheet = charts.image_sheet(torch.stack([one.image for one in hard]), captions, columns=8)
            record_figure(record, "hardest", sheet)
        return [
            *([] if counts is None else [self._classes(record, counts, names, task.counts_of)]),
            page.section(
                "Hardest test images",
                page.tiles(hard, keys),
                note=f"The highest losses, mistakes first: {task.shown_as}.",
            ),
        ]

    def _classes(self, record: RunFolder, counts: torch.Tensor, names: tuple[str, ...], of: str) -> page.Section | None:
        matrix = record_figure(record, "confusion_matrix", charts.confusion_matrix(counts, names))
        return page.section(
            "Test, class by class",
            page.pictures({"confusion matrix": matrix}),
            page.class_table(class_scores(counts, names), of=of),
            page.confusions_table(counts, names, of=of),
            side_by_side=True,
            note=f"Confusion matrix: a row holds the {of} of a true class, its shade is the share of the row.",
        )

    def _augmentation(self, record: RunFolder, task: "Task", data: Any) -> page.Section | None:
        if not self.augmented:
            return None
        (original, *drawn), operations = data.augmentation_draws(images=self.augmented, draws=DRAWS)
        if not operations:
            return None
        titled = [("original", original), *((f"draw {number}", one) for number, one in enumerate(drawn, 1))]
        rows = [Row(name, task.labelled(*batch), batch[1]) for name, batch in titled]
        sheet = contact_sheet(rows, data.class_names, title="augmentation", notes=", ".join(operations))
        file = record_figure(record, "augmentation", sheet)
        return page.section(
            "Augmentation",
            page.pictures({"training images and draws of their augmentation": file}, kind="sheet"),
            note=f"Training images as they are, then {DRAWS} draws of: {', '.join(operations)}; below each its label, "
            "of mixed images with its shares.",
        )


def headline(summary: dict[str, Any], tested: int) -> list[tuple[str, str, str]]:
    """Name, value and remark of the figures that stand on top, the test's first."""
    metrics, found = summary["metrics"], []

    def add(name: str, key: str, small: str = "") -> None:
        if key in metrics:
            found.append((name, f"{metrics[key]:.4f}", small))

    names = list(summary.get("metric_modes") or ("accuracy", "f1_macro", "loss"))
    for name in names:
        low, high = summary.get(f"test/{name}_interval") or (None, None)
        whose = summary.get(f"test/{name}_interval_method")
        interval = "" if low is None else f"95 % {whose} interval {low:.4f} to {high:.4f}, {tested} images"
        add(f"test {title(name)}", f"test/{name}", interval)
    add(f"validation {title(names[0])}", f"val/{names[0]}", "of the best epoch")
    if (best := summary.get("best_epoch")) is not None:
        found.append(("best epoch", f"{best + 1}", f"of {summary.get('epochs')}, by {summary.get('monitor')}"))
    if (seconds := summary.get("train_seconds")) is not None:
        speed = f"{summary.get('train_samples_per_second') or 0:,.0f} images/s"
        found.append(("training time", duration(seconds), speed))
    if (parameters := summary.get("parameters")) is not None:
        found.append(("parameters", f"{parameters:,}", f"{summary.get('trainable_parameters', parameters):,} trained"))
    return found


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s` or `2 h 07 min`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rest} s"
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def environment(summary: dict[str, Any]) -> dict[str, Any]:
    """What the run had under it, a line each."""
    hardware, git = summary["hardware"], summary["git"]
    tracking = summary["tracking"] or {}
    return {
        "processor": f"{hardware['processor']} (threads: {hardware['threads']}, CPUs: {hardware['cpus']})",
        "GPUs": ", ".join(hardware["gpus"]) or "none",
        "processes": summary.get("world_size", 1),
        "platform": hardware["platform"],
        "Python": hardware["python"],
        "packages": ", ".join(f"{name} {version}" for name, version in summary["packages"].items() if version),
        "git": f"{git['commit']}{', with changes' if git['dirty'] else ''}" if git else "not a git checkout",
        "seed": summary.get("seed"),
        "data fingerprint": summary.get("data_fingerprint"),
        "resumed": f"{summary.get('resumes', 0)} times",
        **({"tracking": tracking.get("url") or tracking["id"]} if tracking.get("id") else {}),
    }


def _short(name: str, most: int = 11) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _first_metrics(summary: dict[str, Any]) -> list[str]:
    """The metrics that get a curve beside the loss: the task's first one, and the one that was monitored."""
    names = list(summary.get("metric_modes") or ["accuracy"])
    monitored = str(summary.get("monitor", "")).partition("/")[2]
    return [name for name in dict.fromkeys([names[0], *([monitored] if monitored else [])]) if name != "loss"]


def title(name: str) -> str:
    """`f1_macro` -> `macro F1`."""
    words = name.removesuffix("_macro").replace("f1", "F1").replace("_", " ")
    return f"macro {words}" if name.endswith("_macro") else words
