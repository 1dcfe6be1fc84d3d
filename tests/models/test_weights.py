"""Weights from local files: what is taken, what is left out and said, and what is refused."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from models.build import build_net, net_input
from models.checkpoint import read_checkpoint
from models.weights import is_file, load_file_into, net_tensors
from settings.errors import UserError
from settings.preprocessing import Preprocessing


def build(name: str = "resnet20", *, num_classes: int = 4, in_channels: int = 3, **arguments) -> nn.Module:
    size = arguments.pop("image_size", 32)
    return build_net(name=name, num_classes=num_classes, in_channels=in_channels, image_size=size, **arguments)


def equal_but_for_the_head(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[key]) for key, value in a.state_dict().items() if "head" not in key)


@pytest.mark.parametrize("wrap", ["plain", "ours", "compiled", "parallel", "model", "safetensors"])
def test_forms_of_files(wrap: str, tmp_path: Path) -> None:
    net = build()
    state = net.state_dict()
    file = tmp_path / f"weights.{'safetensors' if wrap == 'safetensors' else 'pth'}"
    if wrap == "safetensors":
        save_file(state, file)
    else:
        stored = {
            "plain": state,
            "ours": {
                "lightbox": {"schema": 1},
                "state_dict": {**{f"net.{k}": v for k, v in state.items()}, "loss.weight": torch.ones(2)},
            },
            "compiled": {"state_dict": {f"net._orig_mod.{k}": v for k, v in state.items()}, "lightbox": {}},
            "parallel": {"model_state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
            "model": {"model": state, "epoch": 3},
        }[wrap]
        torch.save(stored, file)
    loaded = build(weights=str(file))
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in state.items())


def test_the_head_is_made_anew_for_other_classes_and_said(tmp_path: Path) -> None:
    torch.save(build(num_classes=4).state_dict(), tmp_path / "four.pth")
    net = build(num_classes=7)
    report = load_file_into(net, str(tmp_path / "four.pth"))
    assert report.fresh == ("head.weight", "head.bias")
    assert report.matched == len(net.state_dict()) - 2
    assert "new at random: head.weight, head.bias" in report.line()
    assert equal_but_for_the_head(net, build(num_classes=7, weights=str(tmp_path / "four.pth")))


@pytest.mark.parametrize(
    ("name", "have", "want"), [("resnet20", 3, 1), ("resnet20", 1, 3), ("mlp", 3, 1), ("mlp", 1, 3)]
)
def test_channels_are_adapted_and_keep_their_meaning(name: str, have: int, want: int, tmp_path: Path) -> None:
    first = build(name, in_channels=have, image_size=8).eval()
    torch.save(first.state_dict(), tmp_path / "weights.pt")
    second = build(name, in_channels=want, image_size=8, weights=str(tmp_path / "weights.pt")).eval()
    grey = torch.rand(2, 1, 8, 8)
    outputs = [net(grey.expand(-1, channels, -1, -1)) for net, channels in ((first, have), (second, want))]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_a_librarys_net_from_its_own_file(source: str, tmp_path: Path) -> None:
    first = build("resnet18", source=source, num_classes=1000).eval()
    torch.save(first.state_dict(), tmp_path / "resnet18.pth")
    second = build("resnet18", source=source, in_channels=1, weights=str(tmp_path / "resnet18.pth")).eval()
    torch.testing.assert_close(second.layer1[0].conv1.weight, first.layer1[0].conv1.weight)
    torch.testing.assert_close(second.conv1.weight, first.conv1.weight.sum(1, keepdim=True))
    assert second.fc.out_features == 4


def test_names_of_old_published_files_are_understood(tmp_path: Path) -> None:
    """The published files of DenseNet and ViT have the names of older code."""
    net = torchvision.models.densenet121(num_classes=4)
    old = {
        key.replace("norm1", "norm.1").replace("conv1", "conv.1").replace("norm2", "norm.2").replace("conv2", "conv.2")
        if "denselayer" in key
        else key: value
        for key, value in net.state_dict().items()
    }
    torch.save(old, tmp_path / "densenet.pth")
    loaded = build("densenet121", weights=str(tmp_path / "densenet.pth")).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in net.state_dict().items())

    block = torchvision.models.vit_b_32(num_classes=4, image_size=32)
    old = {
        k.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): v
        for k, v in block.state_dict().items()
    }
    assert any("linear_1" in key for key in old)
    torch.save(old, tmp_path / "vit.pth")
    loaded = build("vit_b_32", weights=str(tmp_path / "vit.pth")).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in block.state_dict().items())


def test_mnasnet_which_checks_its_version(tmp_path: Path) -> None:
    torch.save(torchvision.models.mnasnet0_5(num_classes=9).state_dict(), tmp_path / "mnasnet.pth")
    build("mnasnet0_5", weights=str(tmp_path / "mnasnet.pth"))


def test_unused_tensors_are_reported(tmp_path: Path) -> None:
    torch.save({**build().state_dict(), "aux.weight": torch.ones(1)}, tmp_path / "more.pth")
    assert load_file_into(build(), str(tmp_path / "more.pth")).unused == ("aux.weight",)


def test_a_run_folder_is_a_source_of_weights_and_tells_its_preprocessing(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    net = build()
    kept = Preprocessing(
        image_size=32,
        resize=36,
        interpolation="bicubic",
        channels=3,
        mean=(0.1, 0.2, 0.3),
        std=(1.0, 1.0, 1.0),
    )
    stored = {
        "lightbox": {"schema": 1, "preprocessing": kept.to_dict()},
        "state_dict": {f"net.{key}": value for key, value in net.state_dict().items()},
    }
    torch.save(stored, tmp_path / "checkpoints" / "best.ckpt")
    assert equal_but_for_the_head(net, build(num_classes=9, weights=str(tmp_path)))
    wanted = net_input(name="resnet20", weights=str(tmp_path))
    assert (wanted.image_size, wanted.resize, wanted.mean) == (32, 36, (0.1, 0.2, 0.3))


def test_a_librarys_file_has_the_preprocessing_of_its_name(tmp_path: Path) -> None:
    for file, resize in [("resnet50-0676ba61.pth", 256), ("resnet50-11ad3fa6.pth", 232), ("mine.pth", 232)]:
        torch.save({}, tmp_path / file)
        assert net_input(name="resnet50", weights=str(tmp_path / file)).resize == resize
    assert net_input(name="resnet10t", weights=str(tmp_path / "mine.pth")).image_size == 176
    assert net_input(name="mixer_s32_224", weights=str(tmp_path / "mine.pth")).mean is None


def test_a_file_that_does_not_fit_is_refused_with_both_shapes(tmp_path: Path) -> None:
    torch.save(build(arguments={"width": 8}).state_dict(), tmp_path / "narrow.pth")
    with pytest.raises(UserError, match=r"does not fit CifarResNet: \d+ of \d+ .*\(8, 3, 3, 3\), not \(16, 3, 3, 3\)"):
        build(weights=str(tmp_path / "narrow.pth"))
    torch.save(build("lenet5").state_dict(), tmp_path / "lenet.pth")
    with pytest.raises(UserError, match=r"such as conv\.weight: missing"):
        build(weights=str(tmp_path / "lenet.pth"))


def test_missing_batch_norm_statistics_are_not_passed_over(tmp_path: Path) -> None:
    state = build().state_dict()
    del state["norm.running_mean"]
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"1 of .*norm\.running_mean: missing"):
        build(weights=str(tmp_path / "weights.pth"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*nothing\.pth"):
        build(weights=str(tmp_path / "nothing.pth"))


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return (Path.touch, (self.target,))


def test_a_file_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"state_dict": Hostile(tmp_path / "touched")}, tmp_path / "hostile.pth")
    with pytest.raises(UserError, match="cannot read the weights in"):
        build(weights=str(tmp_path / "hostile.pth"))
    assert not (tmp_path / "touched").exists()


def test_plain_values_of_training_scripts_beside_the_tensors_do_no_harm(tmp_path: Path) -> None:
    net = build()
    beside = {"args": argparse.Namespace(lr=0.1, out=Path("x")), "best": np.float64(0.9), "optimizer": {"state": {}}}
    torch.save({"state_dict": net.state_dict(), "epoch": 3, **beside}, tmp_path / "script.pth")
    assert equal_but_for_the_head(net, build(weights=str(tmp_path / "script.pth")))


def test_whole_nets_and_programs_are_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"an object of torch\.nn\.modules\.linear\.Linear .*state_dict\(\), NEW"):
        build(weights=str(tmp_path / "net.pth"))
    torch.save({"epoch": 3, "history": [1.0]}, tmp_path / "none.pth")
    with pytest.raises(UserError, match="no tensors that a net could have; its keys are epoch, history"):
        build(weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_damaged_files_and_other_things_are_refused(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"bad.{suffix}"
    file.write_bytes(b"not a file of weights")
    with pytest.raises(UserError, match="cannot read the weights in"):
        read_checkpoint(file)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pt")


def test_a_foreign_net_with_a_part_called_net_is_kept_whole() -> None:
    state = {"net.0.weight": torch.ones(1), "head.weight": torch.ones(1)}
    assert list(net_tensors(state)) == list(state)


def test_files_are_told_from_named_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "default").touch()
    assert [is_file(w) for w in ("none", "default", "IMAGENET1K_V2", "a1_in1k")] == [False] * 4
    assert [is_file(w) for w in ("a.pth", "b.ckpt", "x/y", "c.safetensors")] == [True] * 4


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path):
    file = tmp_path / "a.ckpt"
    torch.save({"weight": torch.full((1000,), 3.0)}, file)
    content = bytearray(file.read_bytes())
    content[content.index(bytes(torch.full((4,), 3.0).numpy().tobytes())) + 400] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.ckpt: .*damaged|a\.ckpt: .*CRC"):
        read_checkpoint(file)
