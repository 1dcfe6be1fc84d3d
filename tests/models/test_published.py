"""Published weights: from the library's cache; without cache and network, quickly what to put where."""

import time
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

from models import published as module
from models.build import build_net
from models.published import fetched, published
from settings.errors import UserError


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and hosts that do not answer."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setattr(module, "getproxies", dict)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr(module.socket, "create_connection", refuse)
    return tmp_path


def build(name: str, source: str, weights: str = "default", **sizes: int):
    return build_net(
        name=name,
        source=source,
        weights=weights,
        **{"num_classes": 3, "in_channels": 3, "image_size": 32, **sizes},
    )


@pytest.mark.parametrize(
    ("source", "weights", "expected"),
    [
        ("torchvision", "default", ["resnet18-f37072fd.pth", "torch/hub/checkpoints"]),
        (
            "timm",
            "default",
            ["model.safetensors", "timm/resnet18.a1_in1k", "hf/models--timm--resnet18.a1_in1k"],
        ),
        ("timm", "tv_in1k", ["models--timm--resnet18.tv_in1k"]),
    ],
)
def test_missing_weights_name_the_cache_to_fill(source: str, weights: str, expected: list[str], caches: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(UserError) as raised:
        build("resnet18", source, weights)
    assert time.monotonic() - begin < 5
    assert all(part in str(raised.value) for part in [*expected, str(caches), "model.weights=FILE"])
    assert len(raised.value.messages) == 2


def test_a_silent_host_is_given_up_after_the_limit(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        time.sleep(5)
        raise TimeoutError

    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(module.socket, "create_connection", hang)
    begin = time.monotonic()
    with pytest.raises(UserError, match="does not answer"):
        build("resnet18", "torchvision")
    assert time.monotonic() - begin < 3


def test_torchvision_takes_the_file_in_its_cache(caches: Path) -> None:
    reference = build_net(name="resnet18", num_classes=1000, in_channels=3, image_size=32)
    file = caches / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(reference.state_dict(), file)
    net = build("resnet18", "torchvision", in_channels=1)
    assert torch.equal(net.layer4[1].conv2.weight, reference.layer4[1].conv2.weight)
    assert torch.equal(net.conv1.weight, reference.conv1.weight.sum(1, keepdim=True))
    assert net.fc.weight.shape == (3, 512)


@pytest.mark.parametrize(
    ("name", "weights", "tag"),
    [("resnet10t", "default", "c3_in1k"), ("resnet18.a1_in1k", "tv_in1k", "tv_in1k")],
)
def test_timm_takes_the_file_in_its_cache(name: str, weights: str, tag: str, caches: Path) -> None:
    architecture = name.partition(".")[0]
    reference = build_net(name=architecture, source="timm", num_classes=1000, in_channels=3, image_size=32)
    repository = caches / "hf" / f"models--timm--{architecture}.{tag}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc").mkdir(parents=True)
    save_file(reference.state_dict(), repository / "snapshots" / "abc" / "model.safetensors")
    net = build(name, "timm", weights, in_channels=1)
    assert torch.equal(net.layer4[0].conv2.weight, reference.layer4[0].conv2.weight)
    assert net.fc.weight.shape == (3, 512)
    assert net.pretrained_cfg["tag"] == tag


def test_a_download_lands_in_the_cache(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(module, "_reachable", lambda address: True)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *args: asked.append(args))
    file = fetched(published(name="resnet18", source="torchvision", weights="default"))
    assert file == caches / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert asked[0][1:] == (str(file), "f37072fd")


@pytest.mark.parametrize(
    ("name", "source", "weights", "message"),
    [
        ("resnet20", "own", "default", "our own nets have no published weights"),
        ("resnet50", "torchvision", "IMAGENET1K_V3", "nearest: IMAGENET1K_V2, IMAGENET1K_V1"),
        ("resnet18", "timm", "a1_in2k", "nearest: a1_in1k"),
        ("mixer_s32_224", "timm", "default", "timm has no published weights for mixer_s32_224"),
    ],
)
def test_sets_that_do_not_exist_are_answered_by_name(name: str, source: str, weights: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        published(name=name, source=source, weights=weights)
