"""The command line of `explain.py`: its keys, as strictly checked as those of `train.py`; standard library only."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from settings.commands.command import Command, Job
from settings.commands.keys import NEEDED, key
from settings.paths import ROOT

WHAT = {
    "cam": "the last feature map by the head's weights (nets that end in an average and one linear layer)",
    "grad_cam": "the last feature map by its gradients",
    "grad_cam_pp": "the same, for several objects in an image",
    "occlusion": "how far the score falls where a window is covered",
    "integrated_gradients": "each pixel's share of the score",
    "rollout": "attention from the class token to the image (vision transformers)",
    "faithfulness": "deletion and insertion curves of these maps against a random one: which to believe",
    "kernels": "the first layer's kernels as pictures",
    "feature_maps": "what the stages make of the first image",
}
"""What can be drawn -> what that is."""


@dataclass(frozen=True, kw_only=True)
class Explanation(Job):
    """One checked command line; `window`, `stride` and `steps` are None where they follow the image size."""

    run: str = key(NEEDED, "run folder, name of a run or an experiment under runs/, or checkpoint file")
    runs: Path = key(ROOT / "runs", "the folder of all runs", name="paths.runs", shown="runs")
    what: tuple[str, ...] = key((), "what to draw; without it all that the net allows", choices=WHAT)
    images: str = key("", "folder, quoted glob or files, or names of test images; else telling ones of the test images")
    target: str = key("predicted", "the class that is explained: its name, predicted, or true")
    layer: str | None = key(None, "module whose output cam and grad_cam read", shown="the last one with places")
    each: Annotated[int, "1 <= x <= 100"] = key(
        3, "images of each kind: right and sure, right and unsure, wrong and sure"
    )
    window: Annotated[int, "1 <= x <= 4096"] | None = key(
        None, "side of what occlusion covers, in pixels", shown="a quarter of the image"
    )
    stride: Annotated[int, "1 <= x <= 4096"] | None = key(
        None, "pixels between two windows", shown="a quarter of the window up to 64 pixels, half of it beyond"
    )
    steps: Annotated[int, "1 <= x <= 10000"] | None = key(
        None, "gradients of integrated_gradients", shown="50 up to 64 pixels, 16 beyond"
    )
    output: Path | None = key(None, "the folder to write; else RUN/explanations")
    device: Literal["auto", "cpu", "cuda", "mps"] = key("auto", "where it computes")


COMMAND = Command(
    job=Explanation,
    script="explain.py",
    title="Lightbox shows where a trained net looks, and what it has learnt.",
    usage=["run=RUN [what=WHAT,...] [KEY=VALUE ...]"],
    notes=["Writes report.html with pictures as PNG and numbers as CSV. No layer has to be named."],
    examples=[
        "run=runs/digits-resnet20/first",
        "run=first what=grad_cam,occlusion window=8 stride=2",
        "run=first images='photos/*.jpg' target=cat",
    ],
    ending="The last line says `explanations: FOLDER`. Exit codes: 0 done, 1 a bug, 2 configuration or data.",
    training="a run is explained as it was trained",
    no_grid="explain.py looks at one run at a time; write a loop in the shell",
    habits={
        "run": "model weights checkpoint checkpoints ckpt ckpt_path resume load name",
        "images": "image input inputs source src path paths data data.root root folder dir files",
        "what": "method methods do kind cam_method",
        "target": "class target_class label category",
        "layer": "layers target_layer target_layers",
        "output": "out output_dir outdir save save_dir",
        "each": "n count number num_images",
        "device": "accelerator cuda gpu trainer.accelerator",
    },
)


def compose_jobs(overrides: Sequence[str], multirun: bool) -> list[Explanation]:
    """The one checked job.

    Raises:
        UserError: all mistakes together.
    """
    from settings.run_names import runs_folder

    said = COMMAND.read(overrides, multirun)
    what = said.values["what"] or tuple(WHAT)
    mapped = set(WHAT) - {"kernels", "feature_maps"} if "faithfulness" in what else set(what)
    if "occlusion" not in mapped:
        said.idle(["window", "stride"], "without what=occlusion")
    if "integrated_gradients" not in mapped:
        said.idle(["steps"], "without what=integrated_gradients")
    if not {"cam", "grad_cam", "grad_cam_pp"} & mapped:
        said.idle(["layer"], "without what=cam, grad_cam or grad_cam_pp")
    if said.values["images"]:
        said.idle(["each"], "with images=, which says which ones")
    said.refuse()
    if "paths.runs" not in said.given:
        said.values["runs"] = runs_folder()
    return [Explanation(**said.values, command=list(overrides))]
