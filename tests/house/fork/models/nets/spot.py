"""A net of two layers."""

from torch import Tensor, nn


class Spot(nn.Module):
    """Convolution, mean over the image, linear layer."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(self, *, num_classes: int, in_channels: int, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels, width, 3, padding=1)
        self.head = nn.Linear(width, num_classes)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output."""
        return [("stem", ["stem"]), ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes)."""
        return self.head(self.stem(images).relu().mean((-2, -1)))
