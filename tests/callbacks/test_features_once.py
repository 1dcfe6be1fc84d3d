"""A frozen body sees each image once: the head learns what it learns otherwise, and the rest of the run is as ever."""

import csv
from pathlib import Path

import pytest
import torch

from callbacks import features_once
from models.build import build_net
from models.features import head_input, head_module, is_all_before_head
from train import train

HEADS = {
    **{"resnet20": "head", "lenet5": "head", "resnet18": "fc", "efficientnet_b0": "classifier"},
    **{"mobilenet_v3_small": "classifier.3"},
    **{"swin_t": "head", "resnet10t": "fc", "vit_tiny_patch16_224": "head"},
}


@pytest.mark.parametrize("name", HEADS)
def test_the_head_is_found_at_the_end_of_any_net(name: str) -> None:
    size = {"lenet5": 28, "resnet20": 28, "vit_tiny_patch16_224": 224}.get(name, 64)
    net = build_net(name=name, num_classes=5, in_channels=3, image_size=size).eval()
    assert head_module(net) == HEADS[name]
    images = torch.rand(2, 3, size, size)
    assert is_all_before_head(net, HEADS[name], images)
    features, logits = head_input(net, HEADS[name], images)
    with torch.no_grad():
        assert torch.equal(net.get_submodule(HEADS[name])(features), logits)


def test_nets_without_a_place_to_cut_are_told() -> None:
    assert head_module(build_net(name="softmax", num_classes=5, in_channels=1, image_size=8)) is None  # all of it
    net = build_net(name="squeezenet1_1", num_classes=5, in_channels=3, image_size=64).eval()
    assert not is_all_before_head(net, "classifier", torch.rand(2, 3, 64, 64))  # what flattens comes after it


def test_dropout_before_the_head_is_noticed_and_dropout_inside_it_is_not_in_the_way() -> None:
    images = torch.rand(2, 3, 64, 64)
    for name, expected in (("mobilenet_v3_small", False), ("efficientnet_b0", True)):
        net = build_net(name=name, num_classes=5, in_channels=3, image_size=64)
        for module in net.modules():  # as a frozen body is: everything at rest but for dropout
            module.training = isinstance(module, torch.nn.Dropout)
        before = [module.training for module in net.modules()]
        torch.manual_seed(3)
        drawn = torch.rand(1)
        torch.manual_seed(3)
        assert is_all_before_head(net, HEADS[name], images) is expected
        assert torch.equal(torch.rand(1), drawn)
        assert [module.training for module in net.modules()] == before


def digits(folder: Path, name: str, *more: str) -> Path:
    arguments = ["transfer=head_only", "transfer.allow_random=true", "model.depth=8", "scheduler=constant"]
    arguments += ["data.fraction=0.2", "callbacks=none", "trainer.max_epochs=3", f"paths.runs={folder}", f"name={name}"]
    train([*arguments, *more])
    return folder / "digits-resnet20" / name


def losses(run: Path) -> list[float]:
    with (run / "metrics.csv").open() as file:
        return [float(row[key]) for row in csv.DictReader(file) for key in ("train/loss", "val/loss") if row[key]]


def weights(run: Path, file: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"{file}.ckpt", weights_only=True)["state_dict"]


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that the first layer of a net of ours has seen, a number a call."""
    from models.nets.cifar_resnet import CifarResNet

    seen: list[int] = []
    plain = CifarResNet.forward
    monkeypatch.setattr(CifarResNet, "forward", lambda net, images: seen.append(len(images)) or plain(net, images))
    return seen


def test_the_head_learns_the_same_and_the_body_sees_each_image_once(
    tmp_path: Path, forwards: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    slow = digits(tmp_path, "slow", "callbacks.features_once=false")
    seen = sum(forwards)
    forwards.clear()
    capsys.readouterr()
    fast = digits(tmp_path, "fast", "callbacks.features_once=true", "trainer.precision=32-true")
    said = capsys.readouterr().out
    assert "frozen features of 259 train and 145 val images computed once, 0.1 MB" in said
    # All images once, the first batch three times more to look for anything random, the test once.
    test = 359
    assert sum(forwards) == 259 + 145 + 2 * 3 * 64 + test < seen - 2 * 145
    assert losses(fast) == pytest.approx(losses(slow), rel=1e-5) and len(losses(fast)) == 6
    first, second = weights(slow), weights(fast)
    start = weights(digits(tmp_path, "start", "trainer.max_epochs=1", "optimizer.lr=1e-12"))
    for key, value in second.items():
        assert torch.equal(value, start[key]) == ("head" not in key)
        torch.testing.assert_close(value, first[key], rtol=1e-4, atol=1e-5)


def test_a_run_that_goes_on_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = digits(tmp_path, "whole", "callbacks.features_once=true")
    digits(tmp_path, "parts", "callbacks.features_once=true", "trainer.max_epochs=1")
    train([f"resume={tmp_path / 'digits-resnet20' / 'parts'}", "trainer.max_epochs=3", f"paths.runs={tmp_path}"])
    parts = weights(tmp_path / "digits-resnet20" / "parts")
    assert all(torch.equal(value, parts[key]) for key, value in weights(whole).items())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["augment=light"], None),
        (["transfer=full"], None),
        (["model=mobilenet_v3_small", "data.image_size=32"], "something random stands before the head"),
    ],
)
def test_where_it_does_not_fit_it_is_not_done(
    arguments: list[str], said: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["transfer=head_only", "transfer.allow_random=true", "data.fraction=0.2", "callbacks=none", "test=false"]
    base += ["trainer.max_epochs=1", f"paths.runs={tmp_path}", "callbacks.features_once=true", "data.forbid=[]"]
    train([*base, *arguments])
    out = capsys.readouterr().out
    assert "computed once" not in out
    assert (f"frozen features are computed in each epoch: {said}" in out) if said else ("features" not in out)


def test_memory_is_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_once, "MOST_BYTES", (259 + 145) * 64 * 4 - 1)  # 64 numbers an image
    digits(tmp_path, "big", "callbacks.features_once=true", "trainer.max_epochs=1", "test=false")
    assert "computed in each epoch: they would take 0.0 GB of memory" in capsys.readouterr().out
    monkeypatch.setattr(features_once, "MOST_BYTES", (259 + 145) * 64 * 4)
    digits(tmp_path, "fits", "callbacks.features_once=true", "trainer.max_epochs=1", "test=false")
    assert "computed once" in capsys.readouterr().out
