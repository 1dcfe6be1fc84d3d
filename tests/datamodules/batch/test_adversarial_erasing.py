"""Adversarial erasing: by hand on written maps, then with the net that trains asked in a real run."""

import pytest
import torch
from torch import nn

from datamodules.batch.adversarial_erasing import AdversarialErasing, telling
from datamodules.digits import Digits
from engine.data_and_task import build_data, build_task
from models.analysis.activation_map import class_activation_maps, spatial_module
from models.build import build_net
from models.nets.cifar_resnet import CifarResNet
from settings.errors import UserError
from settings.reading.compose import compose
from train import train

MAP = torch.tensor([[[1.0, 2.0, 2.2], [5.0, 3.0, 1.5], [2.9, 1.0, 3.1]]])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_what_lies_above_the_threshold_is_hidden_and_nothing_else():
    assert telling(MAP, 3, 3, 0.5)[0].int().tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 1]], "above 1 + 0.5 x 4"
    assert telling(MAP, 3, 3, 0.45)[0].int().tolist() == [[0, 0, 0], [1, 1, 0], [1, 0, 1]]
    assert torch.equal(telling(7 * MAP - 100, 3, 3, 0.45), telling(MAP, 3, 3, 0.45)), "of any scale"
    assert not telling(MAP, 3, 3, 1.0).any()
    assert telling(MAP, 3, 3, 0.0).sum() == 7, "all but the lowest"
    assert not telling(torch.full((2, 3, 3), 4.0), 6, 6, 0.0).any(), "no place tells more than another"
    halves = torch.tensor([[[0.0, 1.0]]])  # (1, 1, 2), bilinear to 8 columns: 0 0 1/8 3/8 5/8 7/8 1 1
    assert telling(halves, 4, 8, 0.6)[0].int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 4


def test_images_by_hand():
    images = torch.arange(2 * 3 * 9, dtype=torch.uint8).view(2, 3, 3, 3)
    targets = torch.tensor([1, 0])
    asked = []

    def attention(images, targets):
        asked.append((images, targets))
        return MAP.repeat(len(images), 1, 1)

    operation = AdversarialErasing(attention=attention, threshold=0.5, value=200, p=1.0)
    out, labels, _ = operation(images, targets, generator=seeded())
    hidden = torch.zeros(3, 3, dtype=torch.bool)
    hidden[1, 0] = hidden[2, 2] = True
    assert (out[:, :, hidden] == 200).all() and torch.equal(out[:, :, ~hidden], images[:, :, ~hidden])
    assert torch.equal(labels, targets) and torch.equal(asked[0][0], images) and torch.equal(asked[0][1], targets)
    for nothing in ({"threshold": 1.0}, {"p": 0.0}):
        quiet = AdversarialErasing(attention=attention, **{"p": 1.0, **nothing})
        assert torch.equal(quiet(images, targets, generator=seeded())[0], images)
    many = torch.zeros(2000, 1, 3, 3, dtype=torch.uint8)
    out, _, _ = AdversarialErasing(attention=attention, p=0.3)(many, torch.zeros(2000).long(), generator=seeded())
    touched = int(out.flatten(1).any(dim=1).sum())
    assert abs(touched - 600) < 4 * (2000 * 0.21) ** 0.5
    assert len(asked[-1][0]) == touched, "the net is asked about the images that are changed"


def test_the_map_is_weights_times_features():
    torch.manual_seed(0)
    net = CifarResNet(num_classes=4, in_channels=3, depth=8, width=4).train()
    images = torch.randn(5, 3, 16, 16)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    module = spatial_module(net, images, name="ours")
    features = []
    handle = net.get_submodule(module).register_forward_hook(lambda _, inputs, output: features.append(output))
    with torch.no_grad():
        net.eval()(images)
    handle.remove()
    net.train()
    targets = torch.tensor([3, 0, 1, 1, 2])
    maps = class_activation_maps(net, module, images, targets)
    by_hand = torch.einsum("bc,bchw->bhw", net.head.weight[targets], features[0]) / (4 * 4)
    assert maps.shape == (5, 4, 4) and by_hand.max() > 0
    assert torch.allclose(maps, by_hand, atol=1e-6)
    shares = torch.nn.functional.one_hot(targets, 4).float()
    assert torch.allclose(class_activation_maps(net, module, images, shares), by_hand, atol=1e-6), "after mixing"
    assert all(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("name", "source", "side", "places"),
    [("lenet5", "own", 28, 5), ("resnet20", "own", 8, 2), ("cnn", "own", 8, 1), ("resnet18", "torchvision", 64, 2)],
)
def test_the_last_map_with_places_is_found(name, source, side, places):
    arguments = {"widths": [4, 8]} if name == "cnn" else {}
    net = build_net(name=name, source=source, arguments=arguments, num_classes=3, in_channels=1, image_size=side)
    images = torch.zeros(2, 1, side, side)
    maps = class_activation_maps(net, spatial_module(net, images, name=name), images, torch.zeros(2).long())
    assert maps.shape[1] == maps.shape[2] >= max(2, places)


def test_a_net_without_places_is_refused():
    for line in (["model=mlp"], ["model=softmax"]):
        config = compose([*line, "augment.adversarial_erasing.p=1.0", "data.per_class=4"])
        with pytest.raises(UserError, match=r"adversarial_erasing: (mlp|softmax) has no feature map.*resnet20"):
            build_task(config, *build_data(config))
    patches = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.Flatten(2))  # (B, 8, 16): a token a place
    transformer = nn.Sequential(patches, nn.Linear(16, 16), nn.Flatten(1), nn.Linear(128, 3))
    with pytest.raises(UserError, match="no feature map"):
        spatial_module(transformer, torch.zeros(2, 3, 32, 32), name="a transformer")
    with pytest.raises(UserError, match=r"trainer\.compile=true does not let"):
        compose(["augment.adversarial_erasing.p=1.0", "trainer.compile=true"])


def test_without_a_net_that_trains_it_is_refused():
    data = Digits()
    data.configure(recipe={"adversarial_erasing": {"p": 1.0}})
    with pytest.raises(UserError, match="in training alone"):
        data.augmentation_draws(images=4, draws=1)


def test_a_run_hides_what_its_net_looks_at(tmp_path, monkeypatch):
    made, real = [], AdversarialErasing.__call__

    def look(self, images, targets, **how):
        found = real(self, images, targets, **how)
        made.append((images, found[0]))
        return found

    monkeypatch.setattr(AdversarialErasing, "__call__", look)
    line = ["model.width=4", "model.depth=8", "data.per_class=16", "trainer.max_epochs=2", "callbacks.report=null"]
    line += ["augment=none", "augment.adversarial_erasing.p=1.0", "trainer.precision=bf16-mixed"]
    train([*line, f"paths.runs={tmp_path}"])
    assert len(made) == 4, "steps of training alone"
    for images, out in made:
        changed = (images != out).any(dim=1).flatten(1).float().mean(dim=1)
        assert (changed > 0).float().mean() > 0.9 and changed.max() < 0.9
