"""Our own architectures by name: file and class, and the arguments that the name stands for.

This table imports no torch, so that configuration can be checked against it in milliseconds. A new net is one
file beside this one and one line here; the tests in tests/models/nets/ then find it. What a net has to offer:

- a keyword-only constructor with `num_classes`, `in_channels`, `image_size` only if a layer's size depends on
  it, then its own arguments with defaults; an impossible value is a ValueError that names both numbers;
- `forward`: images (B, C, H, W) -> logits (B, num_classes), or with the class attribute `output = "dense"` one class
  a pixel, logits (B, num_classes, H, W);
- `image_sizes`, a class attribute: the sizes it is made for, or None for any;
- `fit_images(batches)`, only if a layer is fitted to training images (float, normalised) before the first step;
- `stages()`: [(stage name, module-name prefixes), ...] from input to output, the last one "head", every
  parameter under exactly one of the prefixes.

Files here import torch alone. A net that stands on a library's, such as one of timm's under a head of our own, is a
file of `models/` itself, imports the library where it is made, and its row says `models.file:Class`. With
`model.weights_by_order=true` it takes a file of the library's net for what lies under its head.
"""

from __future__ import annotations

from typing import Any

NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "softmax": ("softmax:Softmax", {}),
    "mlp": ("mlp:MLP", {}),
    "filters": ("filters:Filters", {}),
    "lenet5": ("lenet5:LeNet5", {}),
    "lenet5_1998": ("lenet5_1998:LeNet51998", {}),
    "alexnet_2012": ("alexnet_2012:AlexNet2012", {}),
    "alexnet_tiny": ("alexnet_2012:AlexNet2012", {"widths": (8, 16, 24, 24, 16), "dense_width": 32}),
    "vgg11_small": ("vgg_small:VGG", {"depth": 11}),
    "vgg13_small": ("vgg_small:VGG", {"depth": 13}),
    "vgg16_small": ("vgg_small:VGG", {"depth": 16}),
    "vgg19_small": ("vgg_small:VGG", {"depth": 19}),
    "nin": ("nin:NIN", {}),
    "inception_small": ("inception:InceptionSmall", {}),
    "highway": ("highway:Highway", {}),
    "cnn": ("cnn:CNN", {}),
    "airbench": ("airbench:Airbench", {}),
    "resnet20": ("cifar_resnet:CifarResNet", {"depth": 20}),
    "resnet32": ("cifar_resnet:CifarResNet", {"depth": 32}),
    "resnet44": ("cifar_resnet:CifarResNet", {"depth": 44}),
    "resnet56": ("cifar_resnet:CifarResNet", {"depth": 56}),
    "resnet110": ("cifar_resnet:CifarResNet", {"depth": 110}),
    "resnet1202": ("cifar_resnet:CifarResNet", {"depth": 1202}),
    "plain20": ("cifar_resnet:CifarResNet", {"depth": 20, "shortcut": "none"}),
    "plain32": ("cifar_resnet:CifarResNet", {"depth": 32, "shortcut": "none"}),
    "plain44": ("cifar_resnet:CifarResNet", {"depth": 44, "shortcut": "none"}),
    "plain56": ("cifar_resnet:CifarResNet", {"depth": 56, "shortcut": "none"}),
    "plain110": ("cifar_resnet:CifarResNet", {"depth": 110, "shortcut": "none"}),
    "preact_resnet20": ("preact_resnet:PreActResNet", {}),
    "densenet_bc": ("densenet_bc:DenseNet", {}),
    "se_resnet20": ("se_resnet:SEResNet", {}),
    "se_resnet50": ("se_resnet:SEResNet", {"blocks": (3, 4, 6, 3), "width": 64, "large": True}),
    "mobilenet_v2_small": ("mobilenet_v2:MobileNetV2", {}),
    "mobilenet_v3_small_32": ("mobilenet_v3:MobileNetV3Small", {}),
    "vit_tiny_32": ("vit:VisionTransformer", {}),
    "hybrid_tiny_32": ("hybrid:HybridTransformer", {}),
    "capsnet": ("capsnet:CapsNet", {}),
    "capsnet_decoder": ("capsnet:CapsNet", {"decoder": True}),
    "capsnet_tiny": ("capsnet:CapsNet", {"width": 16, "kinds": 2}),
    "unet_2015": (
        "unet:UNet",
        {
            "widths": (64, 128, 256, 512, 1024),
            "patch": 1,
            "norm": "none",
            "padding": "valid",
        },
    ),
    "unet_small": ("unet:UNet", {}),
    "unet_tiny": ("unet:UNet", {"widths": (8, 12)}),
}
