"""The command line of `predict.py`: its keys, as strictly checked as those of `train.py`; standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from settings.commands.command import Command, Job, Said, needed
from settings.commands.keys import NEEDED, file_mistakes, key
from settings.paths import ROOT

TABLES = (".csv", ".jsonl")
GALLERIES = (".html",)
EXPORTS = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": ".safetensors"}
"""Kinds of exported files, and how they end."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, kw_only=True)
class PredictJob(Job):
    """One checked command line; `batch_size` and `num_workers` are None where they were left open."""

    run: str = key(NEEDED, "run folder, name of a run or an experiment under runs/, or checkpoint file")
    runs: Path = key(ROOT / "runs", "the folder of all runs", name="paths.runs", shown="runs")
    images: str = key("", "folder, quoted glob (** too), file, list (.csv, .txt), or - for paths on standard input")
    output: Path | None = key(None, "FILE.csv or FILE.jsonl, a row an image; without it the 5 likeliest on the screen")
    gallery: Path | None = key(
        None, "FILE.html with the least certain images; else beside the output; null writes none"
    )
    gallery_images: Annotated[int, "1 <= x <= 1000"] = key(40, "how many of them")
    thresholds: Literal["0.5", "tuned"] = key("0.5", "above which a label is there (multilabel); tuned on validation")
    overlay: bool = key(False, "true writes the picture with its mask in colour, too, of a segmentation")
    batch_size: Annotated[int, "1 <= x <= 65536"] | None = key(
        None, "images at once", shown="the run's own, at most 128"
    )
    num_workers: Annotated[int, "0 <= x <= 256"] | None = key(
        None, "processes that read files", shown="one a core, at most 8"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = key("auto", "where it computes")
    export: Literal["onnx", "torch_export", "safetensors"] | None = key(
        None, "writes the net to output=FILE, else to RUN/export/"
    )
    preprocessing: Literal["none", "normalise", "resize"] = key("normalise", "what of it is inside the file")
    parity_images: Annotated[int, "10 <= x <= 100000"] = key(
        128, "test images, or of images=, that the file is checked on"
    )
    compile: bool = key(True, "false leaves torch.compile out of the parity table")


COMMAND = Command(
    job=PredictJob,
    script="predict.py",
    title="Lightbox names what is on images, with a net that a run trained.",
    usage=[
        "run=RUN images=IMAGES [output=FILE] [KEY=VALUE ...]",
        "run=RUN export=onnx [output=FILE.onnx] [KEY=VALUE ...]",
    ],
    notes=[
        "Class names and preprocessing come from the checkpoint. A file that cannot be read gets a row with the",
        "reason, and the rest goes on. A list holds one path a line, relative to the list's folder; of a .csv the",
        "column path, file or image counts, else the first.",
    ],
    examples=[
        "run=runs/digits-resnet20/first images=scans",
        "run=first images='photos/**/*.jpg' output=predictions.csv",
        "run=first images=labels.csv output=predictions.jsonl gallery=null",
        "run=first export=torch_export preprocessing=resize output=net.pt2",
        "run=first export=safetensors output=upload/model.safetensors",
    ],
    ending="The last line says `predictions: PATH` or `export: PATH`. Exit codes: 0 done, 1 a bug, 2 configuration or\n"
    "data (no image at all), 5 an exported file that disagrees with the checkpoint, 130 stopped by Ctrl-C.",
    training="a run predicts as it was trained",
    no_grid="predict.py does one thing at a time; write a loop in the shell",
    habits={
        "run": "model weights checkpoint checkpoints ckpt ckpt_path resume load",
        "images": "image input inputs source src path paths data data.root root folder dir files",
        "output": "out output_dir outdir save save_dir dest result results csv",
        "batch_size": "bs batch data.batch_size",
        "num_workers": "workers j data.num_workers threads",
        "device": "accelerator cuda gpu trainer.accelerator",
        "export": "format to convert",
    },
)


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[PredictJob]:
    """The one checked job.

    Raises:
        UserError: all mistakes together.
    """
    from settings.run_names import runs_folder

    said = COMMAND.read(overrides, multirun)
    values, export = said.values, said.values["export"]
    if export is None and "images" not in said.given:
        said.wrong.append(f"command line: {needed(COMMAND.keys['images'])}")
    said.wrong += file_mistakes("output", values["output"], [EXPORTS[export]] if export else TABLES)
    said.wrong += file_mistakes("gallery", values["gallery"], GALLERIES)
    _check_export(said)
    said.refuse()
    output = values["output"]
    if output and not export and "gallery" not in said.given:
        values["gallery"] = output.with_name(f"{output.stem}-least-certain.html")
    if "paths.runs" not in said.given:
        values["runs"] = runs_folder()
    return [PredictJob(**values, command=list(overrides))]


def _check_export(said: Said) -> None:
    """What goes with an export alone or with predictions alone, and what an export lacks."""
    from importlib.util import find_spec

    export = said.values["export"]
    if not export:
        if "export" not in said.given:
            said.idle(["preprocessing", "parity_images", "compile"], "without export=")
        return
    said.idle(
        ["gallery", "thresholds", "overlay", "gallery_images", "num_workers", "batch_size", "device"],
        f"with export={export}",
    )
    if export == "safetensors":
        said.idle(["preprocessing"], "with export=safetensors, which holds weights alone")
        said.values["preprocessing"] = "none"
    missing = [name for name in ONNX_PACKAGES if export == "onnx" and find_spec(name) is None]
    if missing:
        said.wrong.append(f'export=onnx needs {", ".join(missing)}: pip install -e ".[export]"')
    if export == "onnx" and said.values["preprocessing"] == "resize":
        said.wrong.append(
            "command line: preprocessing=resize goes with export=torch_export: ONNX Runtime resizes with other "
            "rounding than training does; take normalise or none"
        )
