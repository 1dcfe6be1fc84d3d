"""The command line of `predict.py`: its keys, as strictly checked as those of `train.py`.

Standard library only until something is checked, so that help comes at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings.errors import UserError, nearest, shorten

TABLES = (".csv", ".jsonl")
GALLERIES = (".html",)
EXPORTS = {"onnx": ".onnx", "torch_export": ".pt2"}
"""Kinds of exported files, and how they end."""
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OWN = {
    "run": "run folder, name of a run under runs/, or checkpoint file",
    "images": "folder, quoted glob (** too), file, list (.csv, .txt), or - for paths on standard input",
    "output": "FILE.csv or FILE.jsonl, a row an image; without it the 5 likeliest classes on the screen",
    "gallery": "FILE.html with the least certain images; else beside the output; null writes none",
    "gallery_images": "how many of them, 1 to 1000 (40)",
    "batch_size": "images at once (the run's own, at most 128)",
    "num_workers": "processes that read files (one a core, at most 8)",
    "device": "auto, cpu, cuda or mps (auto)",
    "export": "onnx or torch_export: writes the net to output=FILE.onnx or FILE.pt2 (else to RUN/export/)",
    "preprocessing": "what of it is inside the file: none, normalise or resize (normalise)",
    "parity_images": "how many test images, or of images=, the file is checked on, 10 to 100000 (128)",
    "compile": "false leaves torch.compile out of the parity table (true)",
    "traceback": "true shows where a mistake was found (false)",
}
"""Keys, and what they mean."""
LITERAL = ("run", "images", "output", "gallery")
"""Taken as the shell hands them over, whatever they hold; `null` is none."""
HABITS = {
    "run": "model weights checkpoint checkpoints ckpt ckpt_path resume load",
    "images": "image input inputs source src path paths data data.root root folder dir files",
    "output": "out output_dir outdir save save_dir dest result results csv",
    "batch_size": "bs batch data.batch_size",
    "num_workers": "workers j data.num_workers threads",
    "device": "accelerator cuda gpu trainer.accelerator",
    "export": "format to convert",
}
"""How others call our keys."""


@dataclass(frozen=True, kw_only=True)
class PredictJob:
    """One checked command line; `batch_size` and `num_workers` are None where they were left open."""

    run: str
    images: str
    output: Path | None
    gallery: Path | None
    gallery_images: int
    batch_size: int | None
    num_workers: int | None
    device: str
    export: str | None
    preprocessing: str
    parity_images: int
    compile: bool
    traceback: bool
    command: list[str]
    dropped_augment: tuple[str, ...] = ()

    def to_yaml(self) -> str:
        """The checked keys, a line each."""
        from settings.schema.mistakes import show

        return "".join(f"{key}: {show(_plain(getattr(self, key)))}\n" for key in OWN)


def format_help() -> str:
    """The help page."""
    width = max(map(len, OWN)) + 2
    return "\n".join(
        [
            "Lightbox names what is on images, with a net that a run trained.",
            "",
            "  python predict.py run=RUN images=IMAGES [output=FILE] [KEY=VALUE ...]",
            "  python predict.py run=RUN export=onnx [output=FILE.onnx] [KEY=VALUE ...]",
            "",
            "Keys:",
            *(f"  {name:<{width}}{meaning}" for name, meaning in OWN.items()),
            "",
            "Class names and preprocessing come from the checkpoint. A file that cannot be read gets a row with the",
            "reason, and the rest goes on. A list holds one path a line, relative to the list's folder; of a .csv the",
            "column path, file or image counts, else the first.",
            "",
            "Examples:",
            "  python predict.py run=runs/digits-resnet20/first images=scans",
            "  python predict.py run=first images='photos/**/*.jpg' output=predictions.csv",
            "  python predict.py run=first images=labels.csv output=predictions.jsonl gallery=null",
            "  python predict.py run=first export=torch_export preprocessing=resize output=net.pt2",
            "",
            "The last line says `predictions: PATH` or `export: PATH`. Exit codes: 0 done, 1 a bug, 2 configuration or",
            "data (no image at all), 5 an exported file that disagrees with the checkpoint, 130 stopped by Ctrl-C.",
        ]
    )


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[PredictJob]:
    """The one checked job.

    Raises:
        UserError: all mistakes together.
    """
    given, wrong = _given(overrides)
    if multirun:
        wrong.append("command line: -m: predict.py does one thing at a time; write a loop in the shell")
    keys, found = _checked(given)
    wrong += found
    export = given.get("export", "null")
    for key in ("run",) if export in EXPORTS else ("run", "images"):
        if key not in given:
            wrong.append(f"command line: {key} is needed: {key}={key.upper()}, {OWN[key]}")
    output = _file(given, "output", [EXPORTS[export]] if export in EXPORTS else TABLES, wrong)
    gallery = _file(given, "gallery", GALLERIES, wrong)
    if gallery is None and "gallery" not in given and output is not None and export not in EXPORTS:
        gallery = output.with_name(f"{output.stem}-least-certain.html")
    wrong += _out_of_place(given)
    if wrong:
        raise UserError(*shorten(wrong))
    return [
        PredictJob(**{**keys, "output": output, "gallery": gallery, "command": list(overrides)}),
    ]


def _out_of_place(given: Mapping[str, str]) -> list[str]:
    """What goes with an export alone or with predictions alone, and what an export lacks."""
    from importlib.util import find_spec

    export = given.get("export", "null")
    if export not in EXPORTS:
        only = [key for key in ("preprocessing", "parity_images", "compile") if key in given]
        return [f"command line: {key} goes with export=onnx or export=torch_export" for key in only]
    only = [key for key in ("gallery", "gallery_images", "num_workers", "batch_size", "device") if key in given]
    wrong = [f"command line: {key} goes with images=, not with export={export}" for key in only]
    missing = [name for name in ONNX_PACKAGES if export == "onnx" and find_spec(name) is None]
    if missing:
        wrong.append(f'export=onnx needs {", ".join(missing)}: pip install -e ".[export]"')
    if export == "onnx" and given.get("preprocessing") == "resize":
        wrong.append(
            "command line: preprocessing=resize goes with export=torch_export: ONNX Runtime resizes with other "
            "rounding than training does; take normalise or none"
        )
    return wrong


def _given(overrides: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Split the command line into key -> text, and what is wrong with it."""
    given: dict[str, str] = {}
    wrong: list[str] = []
    for text in overrides:
        key, equals, value = text.partition("=")
        if equals and key in OWN:
            if key in given:
                wrong.append(f"command line: {key} stands there twice")
            given[key] = value
            continue
        name = key.lstrip("-+~").replace("-", "_")
        meant = [own for own, words in HABITS.items() if name.lower() in words.split()] or nearest(name, OWN)
        hint = f"; nearest: {', '.join(meant)}" if meant else "; `python predict.py --help` lists the keys"
        if not equals and not text.startswith("-"):
            wrong.append(f"command line: {text[:80]!r}: must be key=value, such as images={text[:80]}")
        else:
            wrong.append(f"command line: unknown key {key[:60]}{hint}")
    return given, wrong


def _checked(given: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Values with defaults filled in, and what is wrong with them."""
    import yaml
    from pydantic import Field, ValidationError, create_model

    from settings.schema.mistakes import wrong_values
    from settings.schema.sections import Section

    def value(key: str, text: str) -> Any:
        if key in LITERAL:
            return None if text.lower() == "null" else text
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError:
            return text

    schema = create_model("Keys", __base__=Section, **_types(Field))
    raw = {key: value(key, text) for key, text in given.items()}
    try:
        return {"run": "", "images": "", **schema.model_validate(raw).model_dump()}, []
    except ValidationError as error:
        texts = wrong_values(error.errors(), raw)
        return {}, [f"command line: {'.'.join(key)}{text}" for key, text in texts.items()]


def _types(field: Any) -> dict[str, Any]:
    """Type, default and range of each key."""
    from typing import Annotated, Literal

    from settings.schema.sections import Text

    return {
        "run": (Text, ""),
        "images": (Text, ""),
        "output": (Text | None, None),
        "gallery": (Text | None, None),
        "gallery_images": (Annotated[int, field(ge=1, le=1000)], 40),
        "batch_size": (Annotated[int, field(ge=1, le=65536)] | None, None),
        "num_workers": (Annotated[int, field(ge=0, le=256)] | None, None),
        "device": (Literal["auto", "cpu", "cuda", "mps"], "auto"),
        "export": (Literal["onnx", "torch_export"] | None, None),
        "preprocessing": (Literal["none", "normalise", "resize"], "normalise"),
        "parity_images": (Annotated[int, field(ge=10, le=100_000)], 128),
        "compile": (bool, True),
        "traceback": (bool, False),
    }


def _file(given: Mapping[str, str], key: str, endings: Sequence[str], wrong: list[str]) -> Path | None:
    """The file to write, from the working folder on."""
    text = given.get(key)
    if not text or text.lower() == "null" or "\0" in text:  # empty text and NUL are told by the schema
        return None
    path = Path(text).expanduser() if text.startswith("~/") else Path(text)
    if path.suffix.lower() not in endings:
        wrong.append(f"command line: {key}={text[:80]!r}: must be a file that ends in {' or '.join(endings)}")
    elif path.is_dir():
        wrong.append(f"command line: {key}={text[:80]!r}: is a folder; name a file in it")
    return Path.cwd() / path


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value
