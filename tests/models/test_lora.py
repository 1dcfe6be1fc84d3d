"""Low-rank adapters on transformers of torchvision and timm; merged tensors against the adapted nets, bit for bit."""

import copy

import pytest
import torch
from torch import nn

from models.build import build_net
from models.freezing import Freezing
from models.lora import LowRank, add_adapters, merged
from models.optim import build_optimizer
from models.stages import stages
from models.transfer import TransferPlan
from models.weights import net_tensors
from settings.errors import UserError

RANK = 3
# Name, source, size, arguments; layers with attention and their fused widths.
NETS = {
    "vit_b_32": ("torchvision", 32, {"num_layers": 2, "hidden_dim": 24, "num_heads": 3, "mlp_dim": 32}, 2 * [24]),
    "swin_t": ("torchvision", 32, {"embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2]}, [12, 24]),
    "swin_v2_t": ("torchvision", 32, {"embed_dim": 12, "depths": [1, 1], "num_heads": [2, 2]}, [12, 24]),
    "vit_tiny_patch16_224": ("timm", 32, {"embed_dim": 12, "depth": 2, "num_heads": 3}, 2 * [12]),
    "beit_base_patch16_224": ("timm", 32, {"embed_dim": 12, "depth": 1, "num_heads": 3}, [12]),
    "swin_tiny_patch4_window7_224": (
        "timm",
        32,
        {"embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2), "window_size": 4},
        [12, 24],
    ),
}


def plain(name):
    net = from_source(name)
    for parameter in stages(net)[-1].parameters.values():
        nn.init.normal_(parameter, std=0.1)  # torchvision's ViT starts its head at zero
    return net


def from_source(name):
    source, size, arguments, _ = NETS[name]
    torch.manual_seed(0)
    sizes = {"num_classes": 4, "in_channels": 3, "image_size": size}
    try:
        return build_net(name=name, source=source, arguments=arguments, **sizes)
    except UserError:  # torchvision's builders set their sizes themselves: take the class
        import torchvision

        classes = {
            "vit_b_32": lambda: torchvision.models.VisionTransformer(
                image_size=size, patch_size=16, num_classes=4, **arguments
            ),
            "swin_t": lambda: torchvision.models.SwinTransformer(
                patch_size=[4, 4], window_size=[4, 4], num_classes=4, **arguments
            ),
            "swin_v2_t": lambda: torchvision.models.SwinTransformer(
                patch_size=[4, 4],
                window_size=[4, 4],
                num_classes=4,
                block=torchvision.models.swin_transformer.SwinTransformerBlockV2,
                downsample_layer=torchvision.models.swin_transformer.PatchMergingV2,
                **arguments,
            ),
        }
        return classes[name]()


def adapted(name, **more):
    net = plain(name)
    add_adapters(net, rank=RANK, alpha=6.0, **more)
    return net


def disturb(net):
    """Give the zero halves of the adapters values, as training does."""
    for name, parameter in net.named_parameters():
        if name.endswith(".0.up"):
            nn.init.normal_(parameter, std=0.3)


@pytest.mark.parametrize("name", list(NETS))
def test_it_starts_as_the_net_was_and_has_the_expected_numbers(name):
    before, net = plain(name).eval(), adapted(name).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(before(images), net(images))
    *_, adapters, head = stages(net)
    assert (adapters.name, head.name) == ("adapters", "head")
    # qkv: (3d + d) r, proj: (d + d) r
    assert sum(p.numel() for p in adapters.parameters.values()) == sum(6 * d * RANK for d in NETS[name][3])
    assert len(adapters.parameters) == 4 * len(NETS[name][3])
    assert {name for stage in stages(net) for name in stage.parameters} == {name for name, _ in net.named_parameters()}
    assert [stage.name for stage in stages(net) if stage.name != "adapters"] == [s.name for s in stages(before)]


@pytest.mark.parametrize("name", list(NETS))
def test_merged_tensors_compute_the_same_to_the_last_bit(name):
    net = adapted(name)
    disturb(net)
    net.eval()
    images = torch.rand(2, 3, 32, 32)
    bare = plain(name).eval()
    untouched = bare(images)
    tensors = merged(net.state_dict())
    assert tensors.keys() == bare.state_dict().keys()
    bare.load_state_dict(tensors, strict=True)
    for each in (bare, net):
        each.requires_grad_(False)  # torch takes other kernels, which round otherwise, for weights that want gradients
    with torch.no_grad():
        # and torch's own attention has a shortcut for plain weights
        torch.testing.assert_close(bare(images), net(images), rtol=0, atol=1e-6)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            assert torch.equal(bare(images), net(images))
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        assert not torch.allclose(bare(images), untouched, atol=1e-3), "the adapters did nothing"


@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "vit_tiny_patch16_224"])
def test_only_adapters_and_head_move_and_they_get_gradients(name):
    net = adapted(name, dropout=0.2)
    names = tuple(stage.name for stage in stages(net))
    freezing = Freezing(net, TransferPlan(mode="lora", stages=names, epochs=1))
    optimizer = build_optimizer(freezing.groups(lr=0.1, weight_decay=0.1), name="adamw")
    before = copy.deepcopy(net.state_dict())
    freezing.start_epoch(0)
    for _ in range(2):  # the halves that start at zero hide the others from the first step
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(torch.rand(4, 3, 32, 32)), torch.arange(4)).backward()
        optimizer.step()
    trained = {key for stage in freezing.stages[-2:] for key in stage.parameters}
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]) == (key not in trained), key


def test_the_update_is_alpha_over_rank_times_a_product_of_that_rank():
    torch.manual_seed(0)
    weight = torch.rand(6, 5)
    adapter = LowRank(weight, rank=2, alpha=3.0, dropout=0.0)
    nn.init.normal_(adapter.up)
    update = adapter(weight) - weight
    torch.testing.assert_close(update, 1.5 * adapter.up @ adapter.down)
    assert torch.linalg.matrix_rank(update, tol=1e-5) == 2


def test_dropout_leaves_out_input_features_at_its_rate_and_rests_in_evaluation():
    torch.manual_seed(0)
    weight = torch.zeros(3, 4000)
    adapter = LowRank(weight, rank=1, alpha=1.0, dropout=0.3)
    nn.init.ones_(adapter.up)
    with torch.no_grad():
        whole, dropped = adapter.eval()(weight), adapter.train()(weight)
    out = (dropped == 0).all(dim=0)
    assert 0.27 < out.float().mean() < 0.33
    torch.testing.assert_close(dropped[:, ~out], whole[:, ~out] / 0.7)
    assert torch.equal(whole, adapter.up @ adapter.down)


def test_targets_choose_what_is_adapted():
    for targets in (["qkv"], ["proj"]):
        net = adapted("vit_tiny_patch16_224", targets=targets)
        names = list(stages(net)[-2].parameters)
        assert len(names) == 4 and all(f"attn.{targets[0]}.parametrizations.weight.0" in name for name in names)


def test_what_cannot_be_adapted_is_told():
    sizes = {"num_classes": 4, "in_channels": 3, "image_size": 32}
    adapters = {"rank": 2, "alpha": 2.0, "dropout": 0.0, "targets": ["qkv"]}
    with pytest.raises(UserError, match="CifarResNet has none; take a vision transformer"):
        build_net(name="resnet20", adapters=adapters, **sizes)
    with pytest.raises(UserError, match=r"transfer.rank=99: .* at most 12"):
        add_adapters(plain("vit_tiny_patch16_224"), rank=99, alpha=1.0)


def test_a_checkpoint_of_anybodys_is_not_changed():
    tensors = {"a.weight": torch.rand(2, 2), "parametrizations.b": torch.rand(2), "a.0.up": torch.rand(2)}
    assert net_tensors(tensors).keys() == tensors.keys()
