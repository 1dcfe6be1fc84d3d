"""Stages of torchvision's and timm's nets, and what is refused (our own nets: nets/test_registry.py)."""

import pytest
import torch
import torchvision
from torch import nn

from models.build import build_net
from models.stages import TORCHVISION, stages

# One net a family, and the variants whose layers are numbered differently.
FAMILIES = {
    "alexnet": "conv1 conv2 conv3 conv4 conv5 dense1 dense2 head",
    "vgg11": "block1 block2 block3 block4 block5 dense1 dense2 head",
    "vgg16_bn": "block1 block2 block3 block4 block5 dense1 dense2 head",
    "googlenet": "stem inception3 inception4 inception5 head",
    "inception_v3": "stem mixed5 mixed6 mixed7 head",
    "resnet18": "stem stage1 stage2 stage3 stage4 head",
    "wide_resnet50_2": "stem stage1 stage2 stage3 stage4 head",
    "densenet121": "stem stage1 stage2 stage3 stage4 head",
    "squeezenet1_0": "stage1 stage2 stage3 stage4 stage5 stage6 stage7 stage8 stage9 head",
    "mobilenet_v2": " ".join(f"stage{n}" for n in range(1, 20)) + " head",
    "mobilenet_v3_small": " ".join(f"stage{n}" for n in range(1, 14)) + " dense head",
    "efficientnet_b0": " ".join(f"stage{n}" for n in range(1, 10)) + " head",
    "efficientnet_v2_s": " ".join(f"stage{n}" for n in range(1, 9)) + " head",
    "mnasnet0_5": "stem stage1 stage2 stage3 stage4 stage5 stage6 neck head",
    "regnet_y_400mf": "stem stage1 stage2 stage3 stage4 head",
    "shufflenet_v2_x0_5": "stem stage2 stage3 stage4 neck head",
    "convnext_tiny": " ".join(f"stage{n}" for n in range(1, 9)) + " neck head",
    "vit_b_16": "stem " + " ".join(f"block{n}" for n in range(1, 13)) + " neck head",
    "swin_t": " ".join(f"stage{n}" for n in range(1, 9)) + " neck head",
    "swin_v2_t": " ".join(f"stage{n}" for n in range(1, 9)) + " neck head",
    "maxvit_t": "stem stage1 stage2 stage3 stage4 neck head",
}
TIMM = [
    "resnet18",
    "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224",
    "convnext_atto",
    "mobilenetv3_small_050",
    "efficientnet_lite0",
    "swin_tiny_patch4_window7_224",
    "regnety_002",
    "levit_128s",
    "mobilevit_xxs",
    "resnetv2_50",
    "densenet121",
    "mixer_s32_224",
]


def make(name: str, **arguments) -> nn.Module:
    # regnet reads values while it is made, so it needs memory; the rest has shapes only
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        return torchvision.models.get_model(name, weights=None, num_classes=7, **arguments)


def check_partition(net: nn.Module) -> None:
    found = stages(net)
    names = [name for stage in found for name in stage.parameters]
    assert sorted(names) == sorted(name for name, _ in net.named_parameters())
    assert all(dict(net.named_parameters())[n] is p for stage in found for n, p in stage.parameters.items())
    assert len({stage.name for stage in found}) == len(found)
    assert found[-1].name == "head"


def check_flow(net: nn.Module, size: int) -> None:
    """The stages are entered in their order, as hooks on the layers see it (without values)."""
    number = {p: n for n, stage in enumerate(stages(net)) for p in stage.parameters}
    entered: list[int] = []
    for path, module in net.named_modules():
        own = [f"{path}.{key}" for key, _ in module.named_parameters(recurse=False)]
        if path and own and not isinstance(module, nn.MultiheadAttention):
            module.register_forward_pre_hook(lambda *_, n=number[own[0]]: entered.append(n))
    tensors = {key: value.to("meta") for key, value in [*net.named_parameters(), *net.named_buffers()]}
    torch.func.functional_call(net.eval(), tensors, torch.zeros(1, 3, size, size, device="meta"))
    # The first entry counts: of two heads side by side (LeViT), one has its norm after the other's layer.
    assert list(dict.fromkeys(entered)) == sorted(set(entered))


@pytest.mark.parametrize("name", FAMILIES)
def test_torchvision_families(name: str) -> None:
    plain = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    net = make(name, **plain)
    assert " ".join(stage.name for stage in stages(net)) == FAMILIES[name]
    check_partition(net)
    assert all(value.shape[0] == 7 for value in stages(net)[-1].parameters.values())
    check_flow(net, 299 if name == "inception_v3" else 224)


def test_every_family_of_the_table_is_tested() -> None:
    builders = torchvision.models.list_models(module=torchvision.models)
    families = {torchvision.models.get_model_builder(name).__module__ for name in builders}
    assert families == {torchvision.models.get_model_builder(name).__module__ for name in FAMILIES}
    assert len(families) == len(TORCHVISION)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_heads_belong_to_the_head(name: str) -> None:
    net = make(name, init_weights=False, aux_logits=True)
    check_partition(net)
    assert any("aux" in key.lower() for key in stages(net)[-1].parameters)


def test_tokens_belong_to_the_stem() -> None:
    stem = stages(make("vit_b_32"))[0]
    assert {"class_token", "encoder.pos_embedding", "conv_proj.weight"} <= set(stem.parameters)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The default weight initialization:FutureWarning")  # of two nets, called directly
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_every_torchvision_net_has_stages(name: str) -> None:
    check_partition(make(name))


@pytest.mark.parametrize("name", TIMM)
def test_timm_families(name: str) -> None:
    net = build_net(name=name, source="timm", num_classes=7, in_channels=3, image_size=224)
    check_partition(net)
    found = stages(net)
    assert found[0].name == "stem"
    assert len(found) > 4
    assert all(value.shape[0] == 7 for value in found[-1].parameters.values())
    check_flow(net, 224)


class Loose(nn.Module):
    """A net of a forker's with a slip in its stages."""

    def __init__(self, rows: list[tuple[str, list[str]]]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.conv10 = nn.Conv2d(2, 2, 3)
        self.head = nn.Linear(2, 2)
        self.rows = rows

    def stages(self) -> list[tuple[str, list[str]]]:
        return self.rows


def test_a_prefix_ends_at_a_dot() -> None:
    found = stages(Loose([("a", ["conv1"]), ("b", ["conv10"]), ("head", ["head"])]))
    assert list(found[0].parameters) == ["conv1.weight", "conv1.bias"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", ["conv1"]), ("head", ["head"])], "2 parameters of Loose stand in no stage, such as conv10"),
        ([("a", ["conv1"]), ("b", ["conv1", "conv10"]), ("head", ["head"])], "two stages, a and b"),
        (
            [("a", ["conv1", "conv10"]), ("b", ["norm"]), ("head", ["head"])],
            "stage b of Loose has no parameter",
        ),
        ([("head", ["head"]), ("a", ["conv1", "conv10"])], "has to be head"),
    ],
)
def test_slips_are_named(rows: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stages(Loose(rows))
