"""Where an image speaks for its class, by the net's last feature map.

Each channel of the map counts by the mean gradient of the class's logit, as in Grad-CAM (Selvaraju et al. 2017,
arxiv.org/abs/1610.02391), of which negative values are kept here. Where the net ends in an average and one linear layer
that is its weight: the class activation map (Zhou et al. 2016, arxiv.org/abs/1512.04150) over the number of places.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.analysis.at_rest import pass_through
from models.analysis.feature_gradients import feature_gradients
from models.analysis.wanted_score import wanted_score
from settings.errors import UserError


def spatial_module(net: nn.Module, images: Tensor, *, name: str) -> str:
    """Name of the module whose output is the last feature map: (B, channels, h, w) with more than one place.

    Args:
        net: in evaluation mode while it is looked at.
        images: square ones as the net reads them, (B, C, S, S).
        name: what to call the net in a message.

    Raises:
        UserError: there is no such, or the net goes on with tokens behind it (vision transformers).
    """
    last = ""

    def look(path: str, _: nn.Module, output: object) -> None:
        nonlocal last
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
            last = path
        elif isinstance(output, Tensor) and output.ndim >= 3 and output.shape[1] > 1 and output.shape[2] > 1:
            last = ""  # tokens, or channels behind the places

    pass_through(net, images, look)
    if not last:
        raise UserError(
            f"augment.adversarial_erasing: {name} has no feature map with places before its head; take a convolutional "
            "net, such as model=resnet20"
        )
    return last


def class_activation_maps(net: nn.Module, module: str, images: Tensor, targets: Tensor) -> Tensor:
    """How much each place speaks for the class of its image, float32 (B, h, w); negative where it speaks against.

    Asking changes nothing: the net is in evaluation mode meanwhile and back in its own afterwards, gradients of its
    weights stay as they are.

    Args:
        net: maps images to logits (B, K).
        module: name of the one whose output (B, channels, h, w) is looked at.
        images: (B, C, H, W) as the net reads them.
        targets: classes int64 (B,), or their shares (B, K).
    """
    features, gradients = feature_gradients(net, module, images, lambda logits: wanted_score(logits, targets))
    weights = gradients.float().mean(dim=(2, 3), keepdim=True)
    return (weights * features.float()).sum(dim=1)
