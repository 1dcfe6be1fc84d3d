"""Common corruptions of images at five severities, after D. Hendrycks and T. Dietterich, Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations (2019), with their severities for ImageNet.

Lengths (blurs) are theirs as a share of 224 pixels, and at least what can be seen on a small image. Fog is smooth noise
over several scales in place of their plasma fractal. Each function takes images float ``(B, C, H, W)`` in [0, 1], a
severity from 1 to 5, and a generator for each image.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import affine_grid, grid_sample, interpolate

SEVERITIES = (1, 2, 3, 4, 5)
Generators = Sequence[torch.Generator]
Corruption = Callable[[torch.Tensor, int, Generators], torch.Tensor]


def corrupt(images: torch.Tensor, *, name: str, severity: int, generators: Generators) -> torch.Tensor:
    """Corrupt uint8 ``(B, C, H, W)`` images by a row of `CORRUPTIONS`; the same generators give the same images."""
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1 to 5, not {severity}")
    if len(generators) != len(images):
        raise ValueError(f"{len(images)} images and {len(generators)} generators")
    corrupted = CORRUPTIONS[name](images.float() / 255, severity, generators)
    return (corrupted.clamp(0, 1) * 255).round().to(torch.uint8)


def gaussian_noise(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Add normal noise."""
    drawn = [torch.randn(images.shape[1:], generator=one) for one in generators]
    return images + (0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1] * torch.stack(drawn).to(images.device)


def shot_noise(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Count few photons: Poisson noise."""
    photons = (60, 25, 12, 5, 3)[severity - 1]
    drawn = [torch.poisson(image * photons, generator=one) for image, one in zip(images.cpu(), generators, strict=True)]
    return torch.stack(drawn).to(images.device) / photons


def impulse_noise(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Turn a share of the values black or white."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    drawn = torch.stack([torch.rand(images.shape[1:], generator=one) for one in generators]).to(images.device)
    return images.masked_fill(drawn < share / 2, 0.0).masked_fill(drawn > 1 - share / 2, 1.0)


def gaussian_blur(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Blur by a normal distribution."""
    from torchvision.transforms.v2 import functional as v2

    sigma = _length(images, (1, 2, 3, 4, 6), (0.5, 0.75, 1.0, 1.25, 1.5), severity)
    reach = min(int(3 * sigma + 0.5), min(images.shape[-2:]) - 1)  # reflection needs a smaller one than the image
    return v2.gaussian_blur(images, [2 * reach + 1, 2 * reach + 1], [sigma, sigma])


def motion_blur(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Blur along a line, at an angle of its own for each image."""
    length = _length(images, (10, 15, 20, 25, 35), (2, 3, 4, 5, 6), severity)
    angles = torch.stack([torch.rand((), generator=one) for one in generators]).to(images.device) * torch.pi
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)  # (B, 2)
    size = torch.tensor([images.shape[-1], images.shape[-2]], device=images.device)
    steps = torch.linspace(-0.5, 0.5, 2 * round(length) + 1).tolist()
    moved = [shifted(images, directions * length * step / size) for step in steps]
    return torch.stack(moved).mean(dim=0)


def brightness(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Raise the value (of hue, saturation, value)."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + 0.1 * severity).clamp(max=1)
    return torch.where(value > 0, images * raised / value.clamp_min(1e-6), raised)


def contrast(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Draw the values towards their mean."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + (images - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]


def fog(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Cover with smooth noise, and keep the brightest value."""
    density = (1.5, 2.0, 2.5, 2.5, 3.0)[severity - 1]
    decay = (2.0, 2.0, 1.7, 1.5, 1.4)[severity - 1]
    size = images.shape[-2:]
    field = torch.zeros(len(images), 1, *size)
    octave = 0
    while 2 ** (octave + 1) <= max(size):
        drawn = torch.stack([torch.rand(1, 2 ** (octave + 1), 2 ** (octave + 1), generator=one) for one in generators])
        field += interpolate(drawn, size=size, mode="bilinear", align_corners=True) / decay**octave
        octave += 1
    low, high = field.amin(dim=(2, 3), keepdim=True), field.amax(dim=(2, 3), keepdim=True)
    field = ((field - low) / (high - low).clamp_min(1e-6)).to(images.device)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images + density * field) * brightest / (brightest + density)


def pixelate(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Average over larger pixels."""
    share = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    height, width = images.shape[-2:]
    small = interpolate(images, size=(max(1, int(height * share)), max(1, int(width * share))), mode="area")
    return interpolate(small, size=(height, width), mode="nearest")


def jpeg(images: torch.Tensor, severity: int, generators: Generators) -> torch.Tensor:
    """Compress strongly."""
    found = []
    for image in (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy():
        packed = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(
            packed, "jpeg", quality=(25, 18, 15, 10, 7)[severity - 1]
        )
        found.append(torch.from_numpy(np.array(Image.open(packed))).view(image.shape).permute(2, 0, 1))
    return torch.stack(found).to(images.device) / 255


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "gaussian_blur": gaussian_blur,
    "motion_blur": motion_blur,
    "brightness": brightness,
    "contrast": contrast,
    "fog": fog,
    "pixelate": pixelate,
    "jpeg": jpeg,
}


def shifted(images: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """Shift each image by shares ``(B, 2)`` of its width and height; the border goes on."""
    matrix = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)  # (B, 2, 3)
    matrix[:, :, 2] = -2 * shares
    return transformed(images, matrix)


def transformed(images: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Look up each pixel of float images at ``matrix`` (B, 2, 3) in coordinates from -1 to 1; the border goes on."""
    grid = affine_grid(matrix, list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _length(images: torch.Tensor, of_224: Sequence[float], least: Sequence[float], severity: int) -> float:
    """A length in pixels: a share of the side, at least what shows on a small image."""
    return max(of_224[severity - 1] * min(images.shape[-2:]) / 224, least[severity - 1])
