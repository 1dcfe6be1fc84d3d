"""What a plan does to nets of all three sources, held against what optimisers and batch norm would do to them."""

import copy

import pytest
import torch
from torch import nn

from models.build import build_net
from models.freezing import Freezing
from models.optim import build_optimizer
from models.stages import stages
from models.transfer import MODES, WITH_ADAPTERS, TransferPlan

NETS = {
    "own": {"name": "cnn", "source": "own", "arguments": {"widths": [4, 4], "dense_widths": [6]}, "image_size": 8},
    "alexnet": {"name": "alexnet", "source": "torchvision", "image_size": 64},
    "googlenet": {"name": "googlenet", "source": "torchvision", "image_size": 32},
    "mobilenet": {"name": "mobilenet_v3_small", "source": "torchvision", "image_size": 32},
    "vit": {
        "name": "vit_tiny_patch16_224",
        "source": "timm",
        "arguments": {"embed_dim": 12, "depth": 3, "drop_rate": 0.3, "drop_path_rate": 0.3},
        "image_size": 32,
    },
    "test_resnet": {"name": "test_resnet", "source": "timm", "image_size": 32},
}


def made(net, mode, epochs=6, **arguments):
    torch.manual_seed(0)
    adapters = arguments if mode in WITH_ADAPTERS else None
    built = build_net(num_classes=4, in_channels=3, adapters=adapters, **NETS[net])
    names = tuple(stage.name for stage in stages(built))
    return Freezing(built, TransferPlan(mode=mode, stages=names, epochs=epochs, arguments=arguments))


def bytes_of(freezing):
    """Stage -> what it holds, buffers included; a buffer belongs to the stage of its module."""
    owner = {name: stage.name for stage in freezing.stages for name in stage.parameters}
    modules = {name.rpartition(".")[0]: stage for name, stage in owner.items()}
    found = {stage.name: {} for stage in freezing.stages}
    for name, value in freezing.net.state_dict().items():
        stage = owner.get(name) or modules[name.rpartition(".")[0]]
        found[stage][name] = value.clone()
    return found


def train(freezing, epoch, optimizer, steps=3):
    freezing.net.train()
    freezing.hold()
    freezing.start_epoch(epoch)
    size = getattr(freezing.net, "image_size", 32)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(freezing.net(torch.rand(4, 3, size, size)), torch.arange(4)).backward()
        optimizer.step()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("net", [net for net in NETS if net != "alexnet"])  # 57 M parameters
def test_frozen_stages_keep_their_bytes_and_the_others_move(net):
    """Under weight decay and momentum, with batch norm and dropout; frozen again, and first trained late."""
    freezing = made(net, "gradual", head_epochs=1)
    optimizer = build_optimizer(freezing.groups(lr=0.01, weight_decay=0.1), name="sgd", momentum=0.9)
    for epoch in (0, 1, 4, 1, 0):
        before = bytes_of(freezing)
        train(freezing, epoch, optimizer)
        after = bytes_of(freezing)
        trained = freezing.plan.shares(epoch)
        for stage in before:
            assert same(before[stage], after[stage]) == (stage not in trained), (epoch, stage)
    assert sum(p.numel() for p in freezing.net.parameters() if p.requires_grad) == sum(
        p.numel() for p in freezing.stages[-1].parameters.values()
    )


@pytest.mark.parametrize("net", list(NETS))
def test_a_frozen_part_computes_as_in_evaluation(net):
    """Frozen below the head, features in training are those of evaluation: no dropout, no batch statistics."""
    freezing = made(net, "head_only")
    freezing.start_epoch(0)
    head = {name.rpartition(".")[0] for name in freezing.stages[-1].parameters}
    layers = [freezing.net.get_submodule(name) for name in head]
    seen = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    for module in freezing.net.modules():
        if isinstance(module, nn.Dropout) and module.training:
            module.p = 0.0  # in front of the head, and so of the part that trains
    images = torch.rand(4, 3, *[NETS[net]["image_size"]] * 2)
    freezing.net(images)
    freezing.net.eval()
    freezing.net(images)
    half = len(seen) // 2
    assert half and all(torch.equal(seen[index], seen[half + index]) for index in range(half))


def test_dropout_goes_with_the_layer_it_feeds():
    freezing = made("alexnet", "head_only")
    freezing.start_epoch(0)
    classifier = freezing.net.classifier
    assert not classifier[0].training and not classifier[3].training  # before the two frozen dense layers
    freezing = made("alexnet", "partial", stages=2)
    freezing.start_epoch(0)
    classifier = freezing.net.classifier
    assert not classifier[0].training and classifier[3].training and classifier[6].training
    assert not freezing.net.features.training and freezing.net.training


def test_train_and_eval_of_the_whole_come_back():
    freezing = made("own", "gradual", head_epochs=1)
    freezing.start_epoch(0)
    resting = [name for name, module in freezing.net.named_modules() if not module.training]
    assert {"blocks.0", "blocks.1", "dense.0"} <= set(resting) and "head" not in resting
    freezing.start_epoch(3)
    assert all(module.training for module in freezing.net.modules())
    assert all(parameter.requires_grad for parameter in freezing.net.parameters())


@pytest.mark.parametrize("mode", list(MODES))
def test_all_parameters_are_in_the_optimiser_with_their_real_rates(mode):
    own = {"rank": 2, "alpha": 2.0} if mode in WITH_ADAPTERS else {}
    freezing = made("vit" if own else "test_resnet", mode, epochs=20, **own)
    groups = freezing.groups(lr=0.1, weight_decay=0.01)
    inside = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(inside) == sorted(id(parameter) for parameter in freezing.net.parameters())
    if freezing.plan.is_uniform:
        assert [group["name"] for group in groups] == ["decay", "no_decay"]
        return
    assert groups[-1]["stage"] == "head"
    for stage in freezing.stages:
        for group in groups:
            if group["stage"] == stage.name:
                assert {id(p) for p in group["params"]} <= {id(p) for p in stage.parameters.values()}
                assert group["lr"] == 0.1 * freezing.plan.peak[stage.name]
                assert "lr_scale" not in group
                flat = all(parameter.ndim == 1 for parameter in group["params"])
                assert group["weight_decay"] == (0.0 if flat else 0.01)


def test_discriminative_steps_are_as_long_as_their_rates():
    """One step of plain SGD moves each stage by its own rate times its gradient."""
    freezing = made("own", "discriminative", decay=0.5)
    before = copy.deepcopy(freezing.net)
    optimizer = build_optimizer(freezing.groups(lr=0.1, weight_decay=0.0), name="sgd", momentum=0.0)
    train(freezing, 0, optimizer, steps=1)
    moved = dict(before.named_parameters())
    for distance, stage in enumerate(reversed(freezing.stages)):
        for name, parameter in stage.parameters.items():
            expected = moved[name] - 0.1 * 0.5**distance * parameter.grad
            torch.testing.assert_close(parameter.data, expected.data, rtol=1e-6, atol=1e-8)


def test_the_table_tells_what_trains():
    freezing = made("own", "gradual", epochs=3)
    rows = list(freezing.rows(lr=0.2, weight_decay=0.01))
    assert [row[0] for row in rows] == ["block1", "block2", "dense1", "head"]
    assert [row[5] for row in rows] == ["never", "never", "3", "1-3"]
    assert [row[3] for row in rows] == [0.0, 0.0, 0.2, 0.2]
    assert sum(row[2] for row in rows) == sum(p.numel() for p in freezing.net.parameters())
    assert freezing.trainable_parameters == rows[2][2] + rows[3][2]
    assert freezing.said().startswith(f"transfer=gradual: {freezing.trainable_parameters:,} of ")
