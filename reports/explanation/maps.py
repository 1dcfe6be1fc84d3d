"""Where the net looks: a map an image by each method, drawn over the image on one scale a row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.analysis import attention
from models.analysis.cam import cam
from models.analysis.grad_cam import grad_cam
from models.analysis.grad_cam_pp import grad_cam_pp
from models.analysis.integrated_gradients import integrated_gradients
from models.analysis.occlusion import occlusion
from reports import page
from reports.explanation.subject import Subject
from settings.commands.explain import Explanation
from settings.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 160
"""Pixels of a picture on the page; smaller images are enlarged, so that a map can be told from its pixels."""
SMALL = 64
"""Pixels up to which a fine occlusion takes seconds."""
PALE = 70
"""Grey that stands for black."""
FOR, AGAINST = (214, 40, 40), (29, 78, 216)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to make maps (N, h, w).

    Attributes:
        title: its name.
        note: how it is read, and how it misleads.
        unit: of its numbers.
        maps: makes them.
    """

    title: str
    note: str
    unit: str
    maps: Callable[[Subject, Explanation], Tensor]


def window_of(job: Explanation, size: int) -> tuple[int, int]:
    """Window and stride of an occlusion of images of a size, in pixels.

    Raises:
        UserError: the window is larger than the image.
    """
    window = job.window or max(1, size // 4)
    if window > size:
        raise UserError(f"window={window}: the images have {size} pixels a side")
    return window, job.stride or max(1, window // (4 if size <= SMALL else 2))


def _cam(subject: Subject, job: Explanation) -> Tensor:
    if subject.wanted.ndim > 1:
        raise UserError(f"cam: {subject.name} has outputs for each pixel; grad_cam takes any net")
    return cam(subject.net, subject.grid, subject.images, subject.wanted, name=subject.name)


def _occlusion(subject: Subject, job: Explanation) -> Tensor:
    window, stride = window_of(job, subject.images.shape[-1])
    return occlusion(subject.net, subject.images, subject.wanted, window=window, stride=stride)


def _integrated(subject: Subject, job: Explanation) -> Tensor:
    steps = job.steps or (50 if subject.images.shape[-1] <= SMALL else 16)
    return integrated_gradients(subject.net, subject.images, subject.wanted, steps=steps).sum(dim=1)


def _rollout(subject: Subject, job: Explanation) -> Tensor:
    matrices = attention.attentions(subject.net, subject.images, name=subject.name)
    grid = subject.grid
    rows = attention.rollout(matrices)
    return attention.token_map(rows, prefix=grid.prefix, height=grid.height, width=grid.width)


METHODS = {
    "cam": Method(
        title="CAM",
        note="What each place adds to the logit; the mean over the places, plus the bias, is the logit.",
        unit="logit",
        maps=_cam,
    ),
    "grad_cam": Method(
        title="Grad-CAM",
        note="Channels of the last feature map by the mean gradient of the score. Coarse: a place stands for all "
        "pixels that it sees, which may be the whole image.",
        unit="arbitrary",
        maps=lambda subject, job: grad_cam(subject.net, subject.grid, subject.images, subject.wanted, relu=False),
    ),
    "grad_cam_pp": Method(
        title="Grad-CAM++",
        note="Each place's gradient counts by how much it does for the score: several objects show. What speaks "
        "against the class is left out.",
        unit="arbitrary",
        maps=lambda subject, job: grad_cam_pp(subject.net, subject.grid, subject.images, subject.wanted),
    ),
    "occlusion": Method(
        title="Occlusion",
        note="How far the score falls where a window is covered by the data's mean colour. Red: the net needs it. "
        "Blue: it does better without. A cover is itself something that the net has never seen.",
        unit="score",
        maps=_occlusion,
    ),
    "integrated_gradients": Method(
        title="Integrated gradients",
        note="Each pixel's share of the way from a mean grey image to this one; all shares sum to the difference of "
        "the two scores. Noisy: single pixels mean little.",
        unit="score",
        maps=_integrated,
    ),
    "rollout": Method(
        title="Attention rollout",
        note="Where the class token's content comes from, over all layers. It knows no class: the same map for all.",
        unit="share",
        maps=_rollout,
    ),
}
"""`what` -> its method."""


def map_parts(subject: Subject, maps: Tensor, unit: str) -> list[page.Part | None]:
    """The images with their maps (N, h, w) over them, a colour bar in front; one scale for all."""
    scale = float(maps.abs().max()) or 1.0
    bar = ("scale of the row", colour_bar(), (f"{-scale:.3g} to {scale:.3g}", unit), ("blue against, red for",))
    shown: list[tuple[str, Tensor, Sequence[str], Sequence[str]]] = [bar]
    for index, picture in enumerate(overlays(subject.pictures, maps, scale)):
        truth = f"true: {subject.truths[index]}" if subject.truths[index] else ""
        remarks = [line for line in (subject.kinds[index], truth) if line]
        shown.append((subject.keys[index], picture, (subject.said[index],), remarks))
    return [page.captioned(shown)]


def overlays(pictures: Tensor, maps: Tensor, scale: float) -> list[Tensor]:
    """Images uint8 (N, C, H, W) in grey with maps (N, h, w) in colour, uint8 (3, S, S) with S of `SIDE` or more.

    What is near zero is clear, so that the image stays readable: red is for the class, blue against it.
    """
    side = max(SIDE, pictures.shape[-1])
    grey = F.interpolate(pictures.float().mean(dim=1, keepdim=True), (side, side), mode="nearest")
    values = F.interpolate((maps.float().cpu() / scale)[:, None], (side, side), mode="bilinear").clamp(-1, 1)
    strength = 0.8 * values.abs()
    colours = torch.where(values[:, :, None] > 0, _colour(FOR), _colour(AGAINST))[:, 0]
    grey = PALE + (255 - PALE) / 255 * grey  # on black no colour shows
    mixed = (1 - strength) * grey.expand(-1, 3, -1, -1).cpu() + strength * colours
    return list(mixed.round().to(torch.uint8))


def colour_bar() -> Tensor:
    """What the colours mean, from -scale to scale over mid-grey: uint8 (3, 24, SIDE)."""
    values = torch.linspace(-1, 1, SIDE).expand(1, 24, SIDE)
    colours = torch.where(values > 0, _colour(FOR), _colour(AGAINST))
    strength = 0.8 * values.abs()
    return ((1 - strength) * 160 + strength * colours).round().to(torch.uint8)


def map_figure(subject: Subject, maps: Tensor, title: str, unit: str) -> "Figure":
    """The same as one picture, for files and loggers."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure

    scale = float(maps.abs().max()) or 1.0
    pictures = overlays(subject.pictures, maps, scale)
    figure = Figure(figsize=(1.5 * len(pictures) + 1.6, 2.5), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=11, parse_math=False)
    every: Any = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axes, picture, said, kind, truth in zip(
        every, pictures, subject.said, subject.kinds, subject.truths, strict=True
    ):
        axes.imshow(picture.permute(1, 2, 0).numpy())
        axes.set_axis_off()
        lines = "\n".join(filter(None, (said, f"true: {truth}" if truth else "", kind)))
        axes.set_title(lines, fontsize=7, parse_math=False)
    bar = colour_bar()[:, 0].T.numpy() / 255
    colours = ScalarMappable(Normalize(-scale, scale), LinearSegmentedColormap.from_list("for and against", bar))
    figure.colorbar(colours, ax=list(every), label=unit, shrink=0.8)
    return figure


def map_rows(subject: Subject, maps: Tensor, what: str) -> list[Sequence[Any]]:
    """A row an image: `COLUMNS`."""
    rows: list[Sequence[Any]] = []
    height, width = maps.shape[1:]
    for index, one in enumerate(maps.cpu()):
        y, x = divmod(int(one.argmax()), width)
        place = (f"{(y + 0.5) / height:.4f}", f"{(x + 0.5) / width:.4f}")
        label, probability = int(subject.classes[index]), float(subject.probabilities[index])
        numbers = [f"{value:.6g}" for value in (probability, one.min(), one.max(), one.mean())]
        rows.append((what, subject.keys[index], subject.class_names[label], *numbers, *place))
    return rows


COLUMNS = ("what", "image", "class", "probability", "minimum", "maximum", "mean", "peak_y", "peak_x")
"""Of maps.csv; peaks as shares of the image's height and width."""


def _colour(rgb: tuple[int, int, int]) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float32)[:, None, None]
