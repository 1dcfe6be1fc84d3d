"""A trained net as a file for other programs: ONNX, a `torch.export` program, or its weights alone as safetensors.

Preprocessing and class names go with it.

The number of images in a batch stays free. What the file takes is said in its metadata, key `input`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.build import build_net
from models.load import MODEL_KEYS, LoadedRun
from models.normalisation import Normalise
from settings.errors import UserError
from settings.preprocessing import Preprocessing

INSIDE = {
    "none": "nothing: float32 images, resized, cropped and normalised by the caller",
    "normalise": "normalisation: uint8 images of the net's size",
    "resize": "resizing, cropping and normalisation: uint8 images of any size, all of a batch alike",
}
"""What of the preprocessing can be inside a file, and what it then takes."""
MOST_BYTES = 2**31 - 2**20  # of one ONNX file

Exported = Callable[[Tensor], Tensor]


class PreparedNet(nn.Module):
    """The net behind as much of its preprocessing as `inside` says; images (B, C, H, W) -> logits (B, K).

    Equal to the last bit to what evaluation does, for `resize` on processors whose 8-bit resize torchvision uses.

    Args:
        net: in evaluation mode.
        preprocessing: of its run.
        inside: a key of `INSIDE`.
    """

    def __init__(self, net: nn.Module, preprocessing: Preprocessing, *, inside: str) -> None:
        super().__init__()
        self.net = net
        self.inside = inside
        self.size, self.short = preprocessing.image_size, preprocessing.resize
        self.interpolation = preprocessing.interpolation
        self.normalise = Normalise(preprocessing)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of a batch."""
        if self.inside == "resize":
            images = self._fitted(images)
        if self.inside != "none":
            images = self.normalise(images)
        return self.net(images)

    def _fitted(self, images: Tensor) -> Tensor:
        """Resize the short side and cut the centre, in whole-number arithmetic that is traced for all sizes."""
        rows, columns = images.shape[-2:]
        height: Any = torch.sym_max(self.short, self.short * rows // columns)
        width: Any = torch.sym_max(self.short, self.short * columns // rows)
        smooth = {"antialias": True, "align_corners": False} if self.interpolation != "nearest" else {}
        images = interpolate(images, size=(height, width), mode=self.interpolation, **smooth)
        # Chosen by index: a slice would bind the program to pictures that are longer than their cut, or to those not.
        across = torch.arange(self.size, device=images.device)
        images = images.index_select(-2, across + _half(height - self.size))
        return images.index_select(-1, across + _half(width - self.size))


def _half(margin: Any) -> Any:
    """`round(margin / 2)` as Python rounds: a half goes to the even neighbour."""
    return margin // 2 + (margin % 2) * ((margin // 2) % 2)


def describe(loaded: LoadedRun, *, inside: str, probabilities: str = "softmax") -> dict[str, Any]:
    """What an exported file says of itself: class names, preprocessing, input, output, and what validation decided.

    `probabilities` names the function that makes them of logits.
    """
    preprocessing = loaded.preprocessing
    side: Any = preprocessing.image_size
    sides = ["height", "width"] if inside == "resize" else [side, side]
    return {
        "schema": 1,
        "class_names": list(loaded.class_names),
        "preprocessing": preprocessing.to_dict(),
        "input": {
            "name": "images",
            "type": "float32" if inside == "none" else "uint8",
            "shape": ["batch", preprocessing.channels, *sides],
            "inside": inside,
        },
        "output": {
            "name": "logits",
            "shape": ["batch", len(loaded.class_names)],
            "probabilities": f"{probabilities}(logits)",
        },
        **({"calibration": loaded.checkpoint["calibration"]} if "calibration" in loaded.checkpoint else {}),
        "model": loaded.checkpoint["model"],
        "data_fingerprint": loaded.checkpoint.get("data_fingerprint"),
        "torch": torch.__version__,
    }


def trace(loaded: LoadedRun, *, inside: str) -> torch.export.ExportedProgram:
    """Turn net and preprocessing into a program for any number of images.

    Raises:
        UserError: the net does what `torch.export` cannot follow.
    """
    channels, side = loaded.preprocessing.channels, loaded.preprocessing.image_size
    example = torch.zeros(2, channels, side, side)
    dimensions: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if inside != "none":
        example = example.to(torch.uint8)
    if inside == "resize":
        example = torch.zeros(2, channels, side + 13, side + 7, dtype=torch.uint8)
        dimensions |= {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    net = PreparedNet(loaded.net.cpu(), loaded.preprocessing, inside=inside).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(net, (example,), dynamic_shapes=(dimensions,), strict=False)
        except Exception as error:  # each part of the tracer has its own kinds
            name = loaded.checkpoint["model"]["name"]
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"export: torch.export cannot follow model {name}: {reason}") from error


def write_program(program: torch.export.ExportedProgram, about: dict[str, Any], file: Path) -> None:
    """Save a program; its metadata is the extra file `lightbox.json`."""
    torch.export.save(program, file, extra_files={"lightbox.json": json.dumps(about)})


def read_program(file: Path) -> tuple[Exported, dict[str, Any]]:
    """Open a saved program: a function from images to logits, and its metadata."""
    extra = {"lightbox.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(file, extra_files=extra)
    return program.module(), json.loads(extra["lightbox.json"])


def write_onnx(program: torch.export.ExportedProgram, about: dict[str, Any], file: Path) -> None:
    """Save as ONNX; each key of the metadata is a JSON text of the model's own metadata.

    Raises:
        UserError: the net is too large for one file, or has an operation that ONNX lacks.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.state_dict.values())
    if size > MOST_BYTES:
        raise UserError(f"export=onnx: {size / 1e9:.1f} GB of weights; one ONNX file holds 2; take export=torch_export")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            written = torch.onnx.export(
                program, dynamo=True, input_names=["images"], output_names=["logits"], verbose=False
            )
        except Exception as error:  # each part of the exporter has its own kinds
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"export=onnx: this net cannot be written: {reason}") from error
    assert written is not None
    written.model.metadata_props.update({key: json.dumps(value) for key, value in about.items()})
    written.save(file, external_data=False)


def read_onnx(file: Path) -> tuple[Exported, dict[str, Any]]:
    """Open an ONNX file in ONNX Runtime, on the CPU: a function from images to logits, and its metadata."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    about = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    return run, about


def write_weights(net: nn.Module, about: dict[str, Any], file: Path) -> None:
    """Save the net's tensors by their own names; its metadata are the JSON text under `lightbox`."""
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in net.state_dict().items()}
    save_file(tensors, file, metadata={"format": "pt", "lightbox": json.dumps(about)})


def read_weights(file: Path) -> tuple[Exported, dict[str, Any]]:
    """Build the net that the metadata name, with the file's tensors, and hand it out with them."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        about = json.loads(opened.metadata()["lightbox"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
    model = about["model"]
    with torch.random.fork_rng(devices=[]):
        net = build_net(**{key: model[key] for key in MODEL_KEYS}, standardize=model.get("standardize", "none"))
    net.load_state_dict(tensors)
    return net.eval(), about
