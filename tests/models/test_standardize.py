"""Feature-wise standardisation and ZCA against scikit-learn, and through a whole run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from models import standardize
from models.build import build_net
from models.load import load_run
from models.standardize import Standardize
from settings.errors import UserError
from train import train


def digits():
    return torch.from_numpy(load_digits().images).float()[:, None] / 16  # (N, 1, 8, 8)


def fitted(kind, images):
    layer = Standardize(kind=kind, channels=images.shape[1], size=images.shape[-1])
    layer.fit(images.split(100))
    return layer


def test_featurewise_equals_scikit_learns_scaler(monkeypatch):
    monkeypatch.setattr(standardize, "EPSILON", 0.0)
    images = digits() + 0.3 * torch.randn(1797, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = StandardScaler().fit_transform(images.flatten(1).double().numpy())
    out = fitted("featurewise", images)(images).flatten(1)
    assert np.allclose(out.numpy(), expected, atol=1e-4)


def test_zca_equals_scikit_learns_whitening_turned_back(monkeypatch):
    monkeypatch.setattr(standardize, "EPSILON", 0.0)
    images = digits() + 0.3 * torch.randn(1797, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    flat = images.flatten(1).double().numpy()
    whitener = PCA(whiten=True).fit(flat)
    expected = whitener.transform(flat) @ whitener.components_ * (1797 / 1796) ** 0.5  # it divides by N - 1
    out = fitted("zca", images)(images).flatten(1)
    assert np.allclose(out.numpy(), expected, atol=1e-3)
    assert np.allclose(np.cov(out.numpy(), rowvar=False, bias=True), np.eye(64), atol=1e-3)


def test_what_is_added_to_the_variances_is_a_hundredth_of_their_mean():
    """As it stands, against scikit-learn's mean, variances and components of the real digits, with constant pixels."""
    images = digits()
    flat = images.flatten(1).double().numpy()
    scaler = StandardScaler().fit(flat)
    added = 0.01 * scaler.var_.mean()
    expected = (flat - scaler.mean_) / np.sqrt(scaler.var_ + added)
    assert np.allclose(fitted("featurewise", images)(images).flatten(1).numpy(), expected, atol=1e-4)
    components = PCA().fit(flat)
    variances = components.explained_variance_ * 1796 / 1797
    turned = components.transform(flat) / np.sqrt(variances + added)
    assert np.allclose(fitted("zca", images)(images).flatten(1).numpy(), turned @ components.components_, atol=1e-4)


@pytest.mark.parametrize("kind", ["featurewise", "zca"])
def test_pixels_that_never_change_stay_small(kind):
    images = digits()
    assert (images.flatten(1).std(0) == 0).any()
    out = fitted(kind, images)(images)
    assert out.abs().max() < 60 and out.flatten(1).mean(0).abs().max() < 1e-4


def test_too_many_pixels_are_refused():
    with pytest.raises(UserError, match=r"150528 x 150528 matrix.*featurewise"):
        build_net(name="softmax", num_classes=3, in_channels=3, image_size=224, standardize="zca")


@pytest.mark.parametrize("kind", ["featurewise", "zca"])
def test_a_run_fits_on_its_training_images_alone_and_its_checkpoint_carries_it(kind, tmp_path, capsys):
    metrics = train(
        ["model=mlp", f"data.standardize={kind}", "trainer.max_epochs=4", "callbacks=none", f"paths.runs={tmp_path}"]
    )
    run = capsys.readouterr().out.splitlines()[-1].removeprefix("run: ")
    net, preprocessing, _ = load_run(run)
    lines = Path(run, "splits.csv").read_text().splitlines()[1:]
    split = {line.split(",")[0]: line.split(",")[2] for line in lines}
    mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
    images = (torch.from_numpy(load_digits().images).float()[:, None] * 255 / 16).round() / 255
    images = (images - mean) / std
    places = {name: index for index, name in enumerate(sorted(split))}
    train_only = torch.stack([images[index] for name, index in places.items() if split[name] == "train"])
    expected = fitted(kind, train_only)
    assert torch.allclose(net.standardize.mean, expected.mean, atol=1e-5)
    assert torch.allclose(net.standardize.transform, expected.transform, rtol=1e-3, atol=1e-4)
    tested = [index for name, index in places.items() if split[name] == "test"]
    with torch.no_grad():
        right = net(images[tested]).argmax(1) == torch.from_numpy(load_digits().target)[tested]
    assert right.double().mean().item() == pytest.approx(metrics["test/accuracy"], abs=1e-9)
    assert json.loads((tmp_path / run / "summary.json").read_text())["metrics"]["test/accuracy"] > 0.85
