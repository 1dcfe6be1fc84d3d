"""A file's tensors find their place: behind wrappers' prefixes, and by order under another project's names."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.build import build_net
from models.matching import without_prefix
from models.weights import load_file_into
from settings.errors import UserError


def build(*, num_classes: int = 4, in_channels: int = 3, **more) -> nn.Module:
    arguments = {"depth": 8, "width": 4}
    return build_net(
        name="resnet20", num_classes=num_classes, in_channels=in_channels, image_size=8, arguments=arguments, **more
    )


def renamed(net: nn.Module) -> dict[str, Tensor]:
    """The state under another project's names; the roles at their ends stay."""
    return {
        f"x{index}.{name.rpartition('.')[2]}": value for index, (name, value) in enumerate(net.state_dict().items())
    }


def saved(tensors: dict[str, Tensor], folder: Path) -> str:
    torch.save(tensors, folder / "foreign.pth")
    return str(folder / "foreign.pth")


def same(a: nn.Module, b: nn.Module, *, but: str = "nothing") -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items() if not k.startswith(but))


@pytest.fixture
def net() -> nn.Module:
    net = build()
    net(torch.rand(4, 3, 8, 8))  # moves the norms' statistics and counters
    return net.eval()


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.net.", "ema.module.", "_orig_mod.module."])
def test_any_prefix_is_found_and_what_stands_beside_it_left_out(prefix: str, net: nn.Module, tmp_path: Path) -> None:
    stored = {f"{prefix}{name}": value for name, value in net.state_dict().items()}
    stored |= {"criterion.weight": torch.ones(4), "n_averaged": torch.tensor(3)}
    file = saved({"epoch": 3, "state_dict": stored, "optimizer": {"state": {}}}, tmp_path)
    assert same(net, build(weights=file))


def test_of_two_copies_the_averaged_one_is_taken(net: nn.Module) -> None:
    own = net.state_dict()
    both = {f"model.{name}": value + 1 for name, value in own.items()}
    both |= {f"model_ema.module.{name}": value for name, value in own.items()}
    assert all(torch.equal(value, own[name]) for name, value in without_prefix(both, own).items())


def test_by_order_takes_everything_in_place(net: nn.Module, tmp_path: Path) -> None:
    file = saved(renamed(net), tmp_path)
    with pytest.raises(UserError, match="weights_by_order=true takes them so"):
        build(weights=file)
    loaded = build(weights=file, weights_by_order=True)
    assert same(net, loaded)
    report = loaded.weights_report
    assert report.matched == len(net.state_dict()) and "tensors by order" in report.line()
    assert next(iter(report.rows())) == ("conv.weight", "4x3x3x3", "x0.weight", "taken")


def test_by_order_another_head_and_other_channels(net: nn.Module, tmp_path: Path) -> None:
    loaded = build(num_classes=7, in_channels=1, weights=saved(renamed(net), tmp_path), weights_by_order=True)
    assert same(loaded, net, but=("conv.weight", "head.")) and loaded.head.out_features == 7
    torch.testing.assert_close(loaded.conv.weight, net.conv.weight.sum(1, keepdim=True))
    assert loaded.weights_report.fresh == ("head.weight", "head.bias")
    assert loaded.weights_report.adapted == ("conv.weight",)
    assert "input channels adapted: conv.weight; new at random: head.weight, head.bias" in loaded.weights_report.line()
    assert {row[3] for row in loaded.weights_report.rows()} == {"taken", "adapted", "new", "not used"}


def test_by_order_without_a_head_and_without_counters(net: nn.Module, tmp_path: Path) -> None:
    file = saved({k: v for k, v in renamed(net).items() if "num_batches" not in k}, tmp_path)
    loaded = build(weights=file, weights_by_order=True)
    assert same(loaded, net, but=tuple(k for k in net.state_dict() if "num_batches" in k))
    body = dict(list(renamed(net).items())[:-2])
    loaded = build(weights=saved(body, tmp_path), weights_by_order=True)
    assert same(loaded, net, but="head.") and loaded.weights_report.fresh == ("head.weight", "head.bias")


class Cosine(nn.Module):
    """A head of one tensor."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(4, features))


HEADS = {"cosine": Cosine, "two layers": lambda width: nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 4))}


@pytest.mark.parametrize("head", [*HEADS.values(), lambda width: nn.Linear(width + 1, 4)], ids=[*HEADS, "wider"])
def test_by_order_a_head_of_another_form_leaves_the_files_own(
    head: Callable[[int], nn.Module], net: nn.Module, tmp_path: Path
) -> None:
    other = build()
    other.head = head(16)
    before = {key: value.clone() for key, value in other.head.state_dict().items() if key == "directions"}
    report = load_file_into(other, saved(renamed(net), tmp_path), by_order=True)
    body = {key: value for key, value in other.state_dict().items() if not key.startswith("head.")}
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in body.items())
    assert set(report.taken) == set(body) and len(report.unused) == 2
    assert all(torch.equal(value, before[key]) for key, value in other.head.state_dict().items() if key in before)


def test_by_order_a_files_last_layers_are_not_left_where_the_net_ends_earlier(net: nn.Module, tmp_path: Path) -> None:
    tensors = {**renamed(net), "y.weight": torch.zeros(9, 4), "y.bias": torch.zeros(9)}
    with pytest.raises(UserError, match=r"the file has \d+ tensors and the net \d+"):
        build(weights=saved(tensors, tmp_path), weights_by_order=True)


def test_by_order_the_first_difference_is_named_with_both_names_and_shapes(net: nn.Module, tmp_path: Path) -> None:
    tensors = renamed(net)
    names = list(tensors)
    tensors[names[0]] = torch.zeros(4, 3, 5, 5)
    message = r"tensor 1 is x0\.weight \(4, 3, 5, 5\) in the file and conv\.weight \(4, 3, 3, 3\) in the net"
    with pytest.raises(UserError, match=message):
        build(weights=saved(tensors, tmp_path), weights_by_order=True)
    with pytest.raises(UserError) as raised:
        build(weights=saved(tensors, tmp_path))
    assert len(raised.value.messages) == 1  # nothing is offered that would not fit
    fewer = dict(list(renamed(net).items())[:-4])
    with pytest.raises(UserError, match=r"the file has \d+ tensors and the net \d+, counters left out"):
        build(weights=saved(fewer, tmp_path), weights_by_order=True)


def test_by_order_a_mean_never_takes_the_place_of_a_variance(net: nn.Module, tmp_path: Path) -> None:
    tensors = list(renamed(net).items())
    mean, variance = (next(i for i, (k, _) in enumerate(tensors) if k.endswith(role)) for role in ("_mean", "_var"))
    tensors[mean], tensors[variance] = tensors[variance], tensors[mean]
    with pytest.raises(UserError, match=r"running_var \(4,\) in the file and norm\.running_mean \(4,\) in the net"):
        build(weights=saved(dict(tensors), tmp_path), weights_by_order=True)


def test_a_safetensors_file_has_no_order(net: nn.Module, tmp_path: Path) -> None:
    save_file(renamed(net), tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match=r"sorted by name, as every \.safetensors file is"):
        build(weights=str(tmp_path / "foreign.safetensors"), weights_by_order=True)
    with pytest.raises(UserError) as raised:
        build(weights=str(tmp_path / "foreign.safetensors"))
    assert len(raised.value.messages) == 1


def test_half_precision_is_taken_as_it_is_stored(net: nn.Module, tmp_path: Path) -> None:
    for kind in (torch.float16, torch.bfloat16, torch.float64):
        half = {k: v.to(kind) if v.is_floating_point() else v for k, v in net.state_dict().items()}
        loaded = build(in_channels=1, weights=saved(half, tmp_path))
        assert loaded.conv.weight.dtype == torch.float32
        torch.testing.assert_close(loaded.norm.running_var, net.norm.running_var, rtol=0.01, atol=0.01)
        torch.testing.assert_close(loaded.conv.weight, half["conv.weight"].float().sum(1, keepdim=True))


def test_the_families_of_timm_convert_their_old_names_and_sizes(tmp_path: Path) -> None:
    build_vit = {"name": "vit_tiny_patch16_224", "source": "timm", "in_channels": 3}
    first = build_net(**build_vit, num_classes=1000, image_size=64)
    torch.save({"model": first.state_dict()}, tmp_path / "vit.pth")
    second = build_net(**build_vit, num_classes=5, image_size=32, weights=str(tmp_path / "vit.pth"))
    assert second.pos_embed.shape == (1, 1 + 4, 192)
    assert torch.equal(second.blocks[3].attn.qkv.weight, first.blocks[3].attn.qkv.weight)


def test_the_report_is_returned_and_kept(net: nn.Module, tmp_path: Path) -> None:
    other = build()
    assert other.weights_report is None
    assert load_file_into(other, saved(net.state_dict(), tmp_path)) is other.weights_report
    assert other.weights_report.line().endswith("; the head too")


def test_a_new_head_on_loaded_weights_starts_small(tmp_path: Path) -> None:
    """timm draws EfficientNet's head by the number of outputs: for 5 classes up to 0.4; 1 / sqrt(1280) is 0.03."""
    nets = {"name": "tf_efficientnet_lite0", "source": "timm", "in_channels": 3, "image_size": 32}
    file = saved(build_net(**nets, num_classes=9).state_dict(), tmp_path)
    weight = build_net(**nets, num_classes=5, weights=file).classifier.weight
    assert 0.9 < weight.abs().max() * 1280**0.5 <= 1
