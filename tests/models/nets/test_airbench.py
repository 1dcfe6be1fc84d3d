"""The net in the manner of airbench: counts, sizes, start; its whitening against NumPy on real images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from datamodules.fashion_mnist import FashionMNIST
from datamodules.views import cut_views
from models.build import build_net
from models.fitting import fit_to_images
from models.load import load_run
from models.nets.airbench import EPSILON, MOST_IMAGES, Airbench, Group, Whitening
from train import train


def digits() -> torch.Tensor:
    return torch.from_numpy(load_digits().images).float()[:, None] / 8 - 1  # (N, 1, 8, 8)


def patches_of(images: torch.Tensor) -> np.ndarray:
    """Every 2x2 patch by loops over places, float64 (N, 4 C) in the order channel, row, column."""
    arrays = images.double().numpy()
    height, width = arrays.shape[-2:]
    found = [
        arrays[:, :, y : y + 2, x : x + 2].reshape(len(arrays), -1) for y in range(height - 1) for x in range(width - 1)
    ]
    return np.concatenate(found)


def fitted(images: torch.Tensor) -> Whitening:
    layer = Whitening(channels=images.shape[1])
    layer.fit(images.split(100))
    return layer


@pytest.mark.parametrize(
    ("widths", "count"), [((64, 256, 256), 1_963_272), ((32, 128, 128), 493_192), ((16, 64, 64), 124_488)]
)
def test_parameter_count_by_hand(widths: tuple[int, int, int], count: int) -> None:
    net = Airbench(num_classes=10, in_channels=1, widths=widths)
    inputs = (8, *widths[:2])
    groups = sum(9 * a * b + 9 * b * b + 4 * b for a, b in zip(inputs, widths, strict=True))
    assert sum(parameter.numel() for parameter in net.parameters()) == 8 + groups + 10 * widths[2] == count


def test_sides_of_the_maps() -> None:
    net = Airbench(num_classes=10, in_channels=1, widths=(2, 3, 4))
    shapes: list[tuple[int, ...]] = []
    for layer in (net.whitening, net.group1, net.group2, net.group3):
        layer.register_forward_hook(lambda *given: shapes.append(tuple(given[2].shape)))
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert shapes == [(2, 8, 27, 27), (2, 2, 13, 13), (2, 3, 6, 6), (2, 4, 3, 3)]


def test_each_convolution_starts_by_handing_on_its_input() -> None:
    group = Group(in_channels=3, out_channels=5)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(group.conv1(images)[:, :3], images)
    maps = torch.randn(2, 5, 4, 4)
    torch.testing.assert_close(group.conv2(maps), maps)


def test_a_group_is_its_layers_in_their_order() -> None:
    torch.manual_seed(0)
    group = Group(in_channels=3, out_channels=5).eval()
    for norm in (group.norm1, group.norm2):
        nn.init.normal_(norm.running_mean)
    order = [group.conv1, nn.MaxPool2d(2), group.norm1, nn.GELU(), group.conv2, group.norm2, nn.GELU()]
    images = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(group(images), nn.Sequential(*order)(images))


def test_the_head_reads_maxima_and_its_logits_are_scaled() -> None:
    torch.manual_seed(0)
    nets = [Airbench(num_classes=4, in_channels=1, widths=(2, 3, 5), head_scale=scale).eval() for scale in (1.0, 0.25)]
    nets[1].load_state_dict(nets[0].state_dict())
    images = torch.rand(3, 1, 16, 16)
    maps = []
    nets[0].group3.register_forward_hook(lambda *given: maps.append(given[2]))
    logits = nets[0](images)
    torch.testing.assert_close(logits, maps[0].flatten(2).max(dim=2).values @ nets[0].head.weight.T)
    torch.testing.assert_close(nets[1](images), logits / 4)


def test_filters_are_numpys_eigenvectors_over_standard_deviations_and_their_negatives() -> None:
    images = digits()
    layer = fitted(images)
    patches = patches_of(images)
    values, vectors = np.linalg.eigh(np.cov(patches, rowvar=False, bias=True))
    expected = vectors.T / np.sqrt(values + EPSILON)[:, None]
    filters = layer.weight.flatten(1).double().numpy()
    signs = np.sign((filters[:4] * expected).sum(axis=1))  # an eigenvector is one up to its sign
    assert np.allclose(filters[:4], expected * signs[:, None], atol=1e-4)
    assert np.array_equal(filters[4:], -filters[:4])
    assert np.allclose(layer.bias.detach().numpy(), -filters @ patches.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_comes_out_is_white(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.nets.airbench.EPSILON", 0.0)
    mixing = torch.randn(channels, channels, generator=torch.Generator().manual_seed(0))
    images = torch.einsum("oc,nchw->nohw", mixing, digits()[:1797].view(-1, 1, 8, 8).expand(-1, channels, -1, -1))
    images = images + 0.3 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    layer = fitted(images)
    with torch.no_grad():
        out = layer(images).transpose(0, 1).flatten(1).double().numpy()  # (8 C, places)
    half = 4 * channels
    assert np.allclose(np.cov(out[:half], bias=True), np.eye(half), atol=1e-3)
    assert np.allclose(out.mean(axis=1), 0, atol=1e-3)
    assert np.allclose(out[half:], -out[:half], atol=1e-4)


def test_only_the_first_images_are_looked_at() -> None:
    images = digits().repeat(3, 1, 1, 1)[: MOST_IMAGES + 100]
    first = fitted(images[:MOST_IMAGES])
    images[MOST_IMAGES:] = 100.0
    assert torch.equal(fitted(images).weight, first.weight)


def test_a_blank_direction_is_not_blown_up() -> None:
    layer = fitted(torch.zeros(4, 1, 8, 8))
    assert layer.weight.abs().max() < 1 / EPSILON**0.5 + 1e-3


def test_whitening_refuses_images_without_a_patch() -> None:
    with pytest.raises(ValueError, match="2x2 pixels; got none from 0 images"):
        Whitening(channels=1).fit([])


def test_a_net_with_weights_keeps_their_whitening() -> None:
    sizes: dict[str, Any] = {"name": "airbench", "num_classes": 10, "in_channels": 1, "image_size": 8}
    net = build_net(**sizes, arguments={"widths": [2, 3, 4]})
    net.weights_report = object()  # type: ignore[assignment]
    before = net.state_dict()["whitening.weight"].clone()
    fit_to_images(net, lambda: digits().split(100))
    assert torch.equal(net.state_dict()["whitening.weight"], before)
    net.weights_report = None  # type: ignore[assignment]
    fit_to_images(net, lambda: digits().split(100))
    assert torch.equal(net.state_dict()["whitening.weight"], fitted(digits()).weight)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (8, 16)}, r"three numbers.*got \[8, 16\]"),
        ({"widths": (8, 0, 8)}, r"at least 1; got \[8, 0, 8\]"),
        ({"head_scale": 0.0}, "more than 0; got 0.0"),
    ],
)
def test_impossible_values_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Airbench(num_classes=10, in_channels=1, **arguments)


def test_a_run_learns_and_its_filters_are_those_of_its_training_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few steps on real images; the filters rest, and the test averages the views that were asked for."""
    metrics = train(
        [
            *("data=fashion_mnist", "model=airbench", "model.widths=[8,16,16]", "augment.horizontal_flip.p=0.5"),
            *("optimizer=sgd", "optimizer.lr=0.8", "optimizer.nesterov=true", "scheduler=linear"),
            *("scheduler.warmup_epochs=0.3", "trainer.max_epochs=1", "trainer.channels_last=true"),
            *("data.fraction=0.08", "data.batch_size=128", "data.val_fraction=0.01", "data.test_images=500"),
            *("data.test_views=flip_shift", "callbacks.report=null", f"paths.runs={tmp_path}"),
        ]
    )
    assert metrics["test/accuracy"] > 0.6
    run = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("run: "))
    loaded = load_run(run)
    splits = [line.split(",") for line in (run / "splits.csv").read_text().splitlines()]
    keys = {split: {line[0] for line in splits if line[-1] == split} for split in ("train", "test")}

    def pixels_of(split: str) -> tuple[Tensor, Tensor]:
        source = FashionMNIST().sources()[split]
        places = [index for index, key in enumerate(source.keys) if key in keys[split]]
        assert len(places) == len(keys[split])
        return source[torch.tensor(places)]

    pixels, _ = pixels_of("train")
    images = (pixels / 255.0 - loaded.preprocessing.mean[0]) / loaded.preprocessing.std[0]
    found = loaded.net.state_dict()["whitening.weight"]
    torch.testing.assert_close(found, fitted(images).weight, rtol=1e-3, atol=1e-3)

    tested, targets = pixels_of("test")
    how = loaded.preprocessing

    def probabilities(views: str) -> Tensor:
        """The mean over the views, each prepared by hand."""
        cut = cut_views(tested, name=views, preprocessing=how)
        with torch.inference_mode():
            each = [loaded.net((view / 255.0 - how.mean[0]) / how.std[0]) for view in cut.unbind(dim=1)]
        return torch.stack(each).double().softmax(dim=2).mean(dim=0)

    probs, one_view = probabilities("flip_shift"), probabilities("centre")
    assert metrics["test/accuracy"] == (probs.argmax(1) == targets).double().mean().item()
    assert metrics["test/loss"] == pytest.approx(nll_loss(probs.log(), targets).item(), rel=1e-4)
    assert metrics["test/loss"] != pytest.approx(nll_loss(one_view.log(), targets).item(), rel=1e-3)
