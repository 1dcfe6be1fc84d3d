"""Multi-layer perceptron on the pixels: hidden dense layers, then the logits.

Each hidden layer is linear -> activation -> dropout. Dropout of 0.5 in dense layers follows Srivastava et
al.: Dropout, JMLR 15 (2014), 1929-1958. Parameters with the default widths, 28x28x1, 10 classes: 235,146.
"""

from __future__ import annotations

from typing import Annotated, Literal

from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class MLP(nn.Module):
    """Hidden layers of `widths` units, one after another; an empty `widths` is softmax regression."""

    image_sizes: tuple[int, ...] | None = None

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        widths: tuple[Annotated[int, "x >= 1"], ...] = (256, 128),
        activation: Literal["relu", "leaky_relu", "gelu", "tanh", "sigmoid"] = "relu",
        dropout: Annotated[float, "0 <= x < 1"] = 0.5,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout}")
        if any(width < 1 for width in widths):
            raise ValueError(f"widths must be at least 1; got {list(widths)}")
        self.image_size = image_size
        features = in_channels * image_size**2
        hidden = []
        for width in widths:
            hidden.append(nn.Sequential(nn.Linear(features, width), ACTIVATIONS[activation](), nn.Dropout(dropout)))
            features = width
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(features, num_classes)

    def stages(self) -> list[tuple[str, list[str]]]:
        """Give the stages from input to output as (name, module-name prefixes)."""
        hidden = [(f"hidden{i + 1}", [f"hidden.{i}"]) for i in range(len(self.hidden))]
        return [*hidden, ("head", ["head"])]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, num_classes); ValueError for a size it was not built for."""
        height, width = images.shape[-2:]
        if (height, width) != (self.image_size, self.image_size):
            raise ValueError(
                f"this net was built for {self.image_size}x{self.image_size} images, got {height}x{width}: "
                f"build it with image_size={height} or resize the images"
            )
        return self.head(self.hidden(images.flatten(1)))
