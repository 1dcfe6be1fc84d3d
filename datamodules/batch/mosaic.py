"""Mosaic: four images at half size around a random point, labels by visible area (Bochkovskiy et al. 2020).

Source: arxiv.org/abs/2004.10934, figure 3. Each tile is a whole image at half its size; what reaches beyond the border
is cut off, and where no tile lies the mosaic is grey.
"""

from typing import Annotated

import torch
from torch.nn.functional import interpolate

from datamodules.batch.mixing import Mixing, draw_partners
from datamodules.batch.random_crop import IGNORE

GREY = 114


def tile_of_each_pixel(
    rows: torch.Tensor, columns: torch.Tensor, height: int, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which tile covers a pixel, and which pixel of that tile it shows.

    Args:
        rows: where the four tiles meet, int64 ``(B,)``.
        columns: likewise.
        height: of the image; tiles are half of it.
        width: likewise.

    Returns:
        Tile 0 to 3 (upper left, upper right, lower left, lower right), or 4 where none lies, ``(B, H, W)``; and the
        tile's pixel as an index into its flat ``(H // 2) * (W // 2)``, likewise.
    """
    tall, wide = height // 2, width // 2
    down = torch.arange(height, device=rows.device) - rows[:, None]  # (B, H), negative above the point
    right = torch.arange(width, device=rows.device) - columns[:, None]
    covered = ((down >= -tall) & (down < tall))[:, :, None] & ((right >= -wide) & (right < wide))[:, None, :]
    tile = 2 * (down >= 0).long()[:, :, None] + (right >= 0).long()[:, None, :]
    pixel = (down % tall)[:, :, None] * wide + (right % wide)[:, None, :]
    return torch.where(covered, tile, 4), pixel


class Mosaic(Mixing):
    """Lay a share ``p`` of the images out in fours: each image keeps one tile and gets three others.

    Args:
        num_classes: K; filled in by the recipe.
        margin: the point where the tiles meet stays this far from the border, as a share of the side; 0.5 is the
            middle.
        p: share of the images.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        margin: Annotated[float, "0.25 <= x <= 0.5"] = 0.3,
        p: Annotated[float, "0 <= x <= 1"] = 1.0,
    ) -> None:
        self.num_classes = num_classes
        self.margin = margin
        self.p = p

    def draw(
        self, n: int, height: int, width: int, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return where the tiles meet, int64 ``(n,)`` rows and columns, and whose tiles they are, ``(n, 4)``."""
        rows, columns = (
            (side * (self.margin + (1 - 2 * self.margin) * torch.rand(n, generator=generator))).round().long()
            for side in (height, width)
        )
        members = torch.stack([torch.arange(n), *(draw_partners(n, generator) for _ in range(3))], dim=1)
        places = torch.rand(n, 4, generator=generator).argsort(dim=1)
        return rows, columns, members.gather(1, places)

    def mix(
        self, images: torch.Tensor, targets: torch.Tensor, masks: torch.Tensor | None, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Lay out all images, and their masks alike."""
        n, channels, height, width = images.shape
        rows, columns, members = (one.to(images.device) for one in self.draw(n, height, width, generator))
        tile, pixel = tile_of_each_pixel(rows, columns, height, width)  # (B, H, W)
        size = (height // 2, width // 2)
        small = (
            interpolate(images.float(), size=size, mode="area").round_().to(torch.uint8).flatten(2)
        )  # (B, C, pixels)
        owner = members.gather(1, tile.clamp_max(3).flatten(1)).view_as(tile)  # (B, H, W)
        laid = small[owner.flatten(), :, pixel.flatten()].view(n, height, width, channels).permute(0, 3, 1, 2)
        laid = torch.where((tile == 4)[:, None], GREY, laid)
        shares = torch.stack([(tile == corner).float().mean(dim=(1, 2)) for corner in range(4)], dim=1)  # (B, 4)
        shares = shares / shares.sum(dim=1, keepdim=True)
        mixed = (targets[members] * shares[..., None]).sum(dim=1)
        if masks is not None:
            near = interpolate(masks[:, None].float(), size=size, mode="nearest").long().flatten(1)
            masks = torch.where(tile == 4, IGNORE, near[owner.flatten(), pixel.flatten()].view_as(tile))
        return laid.contiguous(), mixed, masks
