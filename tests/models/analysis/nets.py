"""Small nets of each family, with weights that are not at their start, for what looks into nets."""

import torch
from torch import nn

from models.build import build_net


def small_net(name: str) -> nn.Module:
    """A net of 5 classes for images (B, 3, 32, 32), or 64 pixels for DenseNet and ConvNeXt; repeatable."""
    import timm
    from torchvision.models import densenet, swin_transformer, vision_transformer

    torch.manual_seed(0)
    makers = {
        "torchvision vit": lambda: vision_transformer.VisionTransformer(
            image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
        ),
        "torchvision swin": lambda: swin_transformer.SwinTransformer(
            patch_size=[2, 2], embed_dim=8, depths=[2, 2], num_heads=[2, 2], window_size=[4, 4], num_classes=5
        ),
        "torchvision densenet": lambda: densenet.DenseNet(
            growth_rate=4, block_config=(1, 1, 1, 1), num_init_features=8, num_classes=5
        ),
        "timm vit": lambda: timm.create_model(
            "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=3, embed_dim=48, num_heads=3, num_classes=5
        ),
        "timm vit average": lambda: timm.create_model(
            "vit_base_patch16_siglip_gap_224",
            img_size=32,
            patch_size=8,
            depth=3,
            embed_dim=48,
            num_heads=3,
            num_classes=5,
        ),
        "timm swin": lambda: timm.create_model(
            "swin_tiny_patch4_window7_224",
            img_size=32,
            patch_size=2,
            window_size=4,
            embed_dim=24,
            depths=(2, 2),
            num_heads=(3, 6),
            num_classes=5,
        ),
        "timm convnext": lambda: timm.create_model(
            "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 16, 16), num_classes=5
        ),
    }
    if name in makers:
        net = makers[name]()
    else:
        net = build_net(name=name, arguments={}, num_classes=5, in_channels=3, image_size=32)
    draws = torch.Generator().manual_seed(1)
    for value in net.parameters():  # some heads start at zero
        value.data += 0.05 * torch.randn(value.shape, generator=draws)
    return net.eval()


def images(count: int = 2, *, size: int = 32) -> torch.Tensor:
    """Normalised images (count, 3, size, size); repeatable."""
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))
