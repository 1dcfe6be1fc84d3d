"""The one reader of checkpoints and files of weights: tensors and plain values, never code.

Files are read with `weights_only=True` or as safetensors.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from settings.errors import UserError

CARD = "lightbox"
"""Key of a checkpoint that says what the net is; the name of a format, which a fork keeps."""
# What training scripts put beside the tensors: plain holders of values, whose making runs no code of the file.
HARMLESS: list[Any] = [
    argparse.Namespace,
    *(pathlib.PosixPath, pathlib.PurePosixPath),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def is_whole(path: Path) -> bool:
    """Whether a checkpoint's every byte matches its checksums: a cut or flipped bit anywhere is found."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError):
        return False


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Read a file of weights into a mapping, on the CPU, without running code of the file.

    Raises:
        UserError: the file is damaged (a flipped bit anywhere is found), or holds more than tensors and plain values.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        with torch.serialization.safe_globals(HARMLESS):
            stored = torch.load(file, map_location="cpu", weights_only=True)
        if zipfile.is_zipfile(file) and not is_whole(file):
            raise ValueError("it is damaged: its bytes do not match their checksums")
    except Exception as error:  # zip, pickle, safetensors and torch each raise their own kinds
        raise UserError(f"cannot read the weights in {file}: {_reason(error)}") from error
    if not isinstance(stored, dict):
        raise UserError(f"{file} holds a {type(stored).__name__}, not a mapping of names to tensors")
    return stored


def _reason(error: Exception) -> str:
    """Why a file cannot be read; torch's own text offers to run the file's code."""
    text = str(error)
    if "TorchScript" in text:
        return "it is a TorchScript program; save its tensors: torch.save(torch.jit.load(FILE).state_dict(), NEW)"
    if found := re.search(
        r"GLOBAL ([\w.]+) was not an allowed global|Unsupported (?:class|global)[: ]+(?:GLOBAL )?([\w.]+)", text
    ):
        return (
            f"it holds an object of {found[1] or found[2]} besides tensors, and loading one runs its code; where the "
            "file comes from, save the tensors alone: torch.save(net.state_dict(), NEW)"
        )
    if "weights_only" in text:  # torch's advice is to switch it off, which runs the code in the file
        said = re.search(r"WeightsUnpickler error: ([^\n]+)", text)
        what = "" if said is None or "weights_only" in said[1] else f" ({said[1].strip()[:120]})"
        return f"it is no file of tensors and plain values, or is damaged{what}"
    return text.splitlines()[0] if text else type(error).__name__
