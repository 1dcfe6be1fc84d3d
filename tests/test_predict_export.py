"""`python predict.py export=...`: the file from the outside, its metadata, and the chain that leads to it."""

import csv
import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_digits

from datamodules.transforms import fit_to, normalise
from models import export, load_run
from models.build import build_net
from predict import run
from settings.commands.launch import launch
from settings.commands.predict import COMMAND, compose_jobs
from settings.preprocessing import Preprocessing
from train import train

DIGITS = load_digits()


def go(*arguments):
    return launch(run, arguments, compose_jobs=compose_jobs, help_page=COMMAND.format_help)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with averaged weights on a folder of scans of several shapes."""
    folder = tmp_path_factory.mktemp("export")
    for number in range(120):
        target = folder / "photos" / f"é {DIGITS.target[number] % 3}" / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        pixels = Image.fromarray((DIGITS.images[number] * 255 / 16).astype(np.uint8))
        pixels.resize((11 + number % 3, 12)).save(target)
    train(
        [
            *("data=folder", f"data.root={folder / 'photos'}", "data.image_size=9", "data.check=off", "augment=none"),
            *("model=resnet20", "model.width=4", "model.depth=8", "trainer.max_epochs=3", "callbacks=none"),
            *("data.batch_size=16", "data.channels=1", "callbacks.ema.decay=0.9"),
            *(f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}", "name=one"),
        ]
    )
    return folder, folder / "runs" / "folder-resnet20" / "one"


def by_hand(loaded, images):
    """Logits of uint8 images of the net's size, by the textbook's formula."""
    mean, std = (
        torch.tensor(values).view(-1, 1, 1) for values in (loaded.preprocessing.mean, loaded.preprocessing.std)
    )
    with torch.inference_mode():
        return loaded.net((images.float() / 255 - mean) / std)


def table_of(file):
    with file.open(newline="", encoding="utf-8") as text:
        return {row["name"]: row for row in csv.DictReader(text)}


def test_an_onnx_file_stands_alone_and_agrees(trained, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    _, one = trained
    loaded = load_run(one)
    assert go(f"run={one}", "export=onnx", "compile=false") == 0
    said = capsys.readouterr().out.splitlines()
    file = one / "export" / "resnet20.onnx"
    assert said[-1] == f"export: {file}"
    assert sorted(path.name for path in file.parent.iterdir()) == [
        "resnet20-parity.csv",
        "resnet20-parity.json",
        "resnet20.onnx",
    ]
    session = onnxruntime.InferenceSession(file)
    about = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    assert about["class_names"] == ["é 0", "é 1", "é 2"]
    assert Preprocessing.from_dict(about["preprocessing"]) == loaded.preprocessing
    assert about["input"] == {"name": "images", "type": "uint8", "shape": ["batch", 1, 9, 9], "inside": "normalise"}
    for count in (1, 2, 7):
        images = torch.randint(0, 256, (count, 1, 9, 9), dtype=torch.uint8)
        (logits,) = session.run(None, {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(logits), by_hand(loaded, images), atol=1e-4)
    rows = table_of(file.with_name("resnet20-parity.csv"))
    assert list(rows) == [
        "training-time model",
        "reloaded checkpoint",
        "before averaging",
        "exported program",
        "ONNX Runtime, from the file",
    ]
    for name, row in rows.items():
        assert row["agrees"] == "True"
        if name == "before averaging":
            assert float(row["probability"]) > 1e-3
        else:
            assert float(row["probability"]) < 1e-5 and row["changed"] == "0"
    stored = json.loads(file.with_name("resnet20-parity.json").read_text(encoding="utf-8"))
    assert stored["file"]["class_names"] == about["class_names"] and stored["origin"] == "test images of the run"
    assert any(line.startswith("ONNX Runtime, from the file ") for line in said)


def test_a_program_resizes_as_evaluation_does_whatever_the_size(trained, tmp_path):
    folder, one = trained
    loaded = load_run(one)
    file = tmp_path / "net, 1.pt2"
    words = [f"run={one}", "export=torch_export", "compile=false", f"output={file}", "preprocessing=resize"]
    assert go(*words) == 0
    assert table_of(tmp_path / "net, 1-parity.csv")["exported program, from the file"]["logits"] == "0.0"
    extra = {"lightbox.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(file, extra_files=extra).module()
    assert json.loads(extra["lightbox.json"])["input"]["shape"] == ["batch", 1, "height", "width"]
    for height, width in [(9, 9), (9, 30), (31, 9), (10, 9), (64, 45), (5, 4)]:
        for count in (1, 2, 7):
            images = torch.randint(0, 256, (count, 1, height, width), dtype=torch.uint8)
            with torch.inference_mode():
                expected = loaded.net(normalise(fit_to(images, loaded.preprocessing), loaded.preprocessing))
                assert torch.equal(program(images), expected)
    listed = tmp_path / "some.txt"
    listed.write_text("".join(f"{path}\n" for path in sorted((folder / "photos").rglob("*.png"))[:30]) + "none.png\n")
    assert go(*words, f"images={listed}") == 0
    rows = table_of(tmp_path / "net, 1-parity.csv")
    assert rows["training-time model"]["note"].startswith("not built")
    assert json.loads((tmp_path / "net, 1-parity.json").read_text())["images"] == 30


def test_a_file_that_disagrees_is_not_kept(trained, tmp_path, monkeypatch, capsys):
    def other(file):
        function, about = read(file)
        return (lambda images: function(images).flip(1)), about

    read = export.read_program
    monkeypatch.setattr(export, "read_program", other)
    words = ["export=torch_export", "compile=false", f"output={tmp_path / 'net.pt2'}", "parity_images=12"]
    assert go(f"run={trained[1]}", *words) == 5
    assert "exported program, from the file does not agree" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


MISTAKES = {
    "run=RUN export=tflite": ["export=tflite", "onnx, torch_export"],
    "run=RUN export=onnx preprocessing=resize": ["preprocessing=resize goes with export=torch_export"],
    "run=RUN export=onnx output=net.pt2": ["must be a file that ends in .onnx"],
    "run=RUN export=onnx gallery=a.html batch_size=3": [
        "gallery does nothing with export=onnx",
        "batch_size does nothing with export=onnx",
    ],
    "run=RUN images=a.png compile=false": ["compile does nothing without export="],
    "export=onnx": ["run is needed"],
    "run=RUN export=onnx parity_images=1": ["parity_images=1: must be a whole number from 10 to 100000"],
    "run=LOST export=torch_export": ["the run's own test images are not there", "images=FOLDER"],
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_end_with_2(arguments, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stored = torch.load(trained[1] / "checkpoints" / "best.ckpt", weights_only=True)
    stored["lightbox"]["config"]["data"]["root"] = str(tmp_path / "gone")
    torch.save(stored, tmp_path / "lost.ckpt")
    words = arguments.replace("RUN", str(trained[1])).replace("LOST", str(tmp_path / "lost.ckpt")).split()
    assert go(*words) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in MISTAKES[arguments]), said
    assert [path.name for path in tmp_path.iterdir()] == ["lost.ckpt"]


def test_without_the_packages_the_command_that_installs_them_is_named(trained, monkeypatch, capsys):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else find(name))
    assert go(f"run={trained[1]}", "export=onnx") == 2
    assert 'pip install -e ".[export]"' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source", "channels", "size", "arguments"),
    [
        ("mlp", "own", 1, 12, {}),
        ("lenet5", "own", 1, 28, {}),
        ("resnet18", "torchvision", 3, 48, {}),
        ("vit_tiny_patch16_224", "timm", 3, 32, {"depth": 2}),
    ],
)
def test_every_family_is_exported_for_any_batch(name, source, channels, size, arguments, tmp_path):
    pytest.importorskip("onnxruntime")
    preprocessing = Preprocessing(
        image_size=size, resize=size + 3, interpolation="bicubic", channels=channels, mean=(0.4,) * channels,
        std=(0.3,) * channels,
    )  # fmt: skip
    model = {"name": name, "source": source, "arguments": arguments}
    net = build_net(**model, num_classes=5, in_channels=channels, image_size=size).eval()
    loaded = SimpleNamespace(
        net=net, preprocessing=preprocessing, class_names=tuple("abcde"), checkpoint={"model": model}
    )
    for inside, kinds in {
        "none": ("onnx", "program"),
        "normalise": ("onnx", "program"),
        "resize": ("program",),
    }.items():
        program, about = export.trace(loaded, inside=inside), export.describe(loaded, inside=inside)
        for kind in kinds:
            file = tmp_path / ("a.onnx" if kind == "onnx" else "a.pt2")
            getattr(export, f"write_{kind}")(program, about, file)
            opened, kept = getattr(export, f"read_{kind}")(file)
            assert kept == about
            for count in (1, 2, 7):
                side = (size + 9, size + 30) if inside == "resize" else (size, size)
                images = torch.randint(0, 256, (count, channels, *side), dtype=torch.uint8)
                with torch.inference_mode():
                    normal = normalise(fit_to(images, preprocessing) if inside == "resize" else images, preprocessing)
                    expected = net(normal)
                    found = opened(normal if inside == "none" else images)
                assert torch.allclose(found, expected, atol=1e-4), (inside, kind, count)


@pytest.mark.slow
def test_the_compiled_net_stands_in_the_table(trained, tmp_path):
    assert go(f"run={trained[1]}", "export=torch_export", f"output={tmp_path / 'net.pt2'}", "parity_images=10") == 0
    row = table_of(tmp_path / "net-parity.csv")["compiled"]
    assert row["note"] or float(row["probability"]) < 1e-4


def test_weights_stand_in_the_layout_of_a_hub(trained, tmp_path, capsys):
    from safetensors.torch import load_file

    _, one = trained
    loaded = load_run(one)
    assert go(f"run={one}", "export=safetensors", "compile=false") == 0
    folder = one / "export" / "resnet20"
    assert capsys.readouterr().out.splitlines()[-1] == f"export: {folder / 'model.safetensors'}"
    names = {"README.md", "config.json", "model-parity.csv", "model-parity.json", "model.safetensors"}
    assert {path.name for path in folder.iterdir()} == names

    about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (about["architecture"], about["num_classes"], about["class_names"]) == ("resnet20", 3, ["é 0", "é 1", "é 2"])
    keys = ("name", "source", "arguments", "num_classes", "in_channels", "image_size")
    net = build_net(**{key: about["model"][key] for key in keys}).eval()
    net.load_state_dict(load_file(folder / "model.safetensors"))
    images = torch.rand(5, 1, 9, 9)
    with torch.inference_mode():
        assert torch.equal(net(images), loaded.net(images))
    again, kept = export.read_weights(folder / "model.safetensors")
    assert kept.items() <= about.items() and kept["input"]["inside"] == "none"
    assert torch.equal(again(images), loaded.net(images))

    _, head, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    head = yaml.safe_load(head)
    summary = json.loads((one / "summary.json").read_text())
    ((result,),) = ([one["results"][0]["metrics"]] for one in head["model-index"])  # fmt: skip
    assert {found["name"]: found["value"] for found in result} == {
        key: value for key, value in summary["metrics"].items() if key.startswith("test/")
    }
    assert head["pipeline_tag"] == "image-classification" and "é 0, é 1, é 2" in text and "Use it" in text
    rows = table_of(folder / "model-parity.csv")
    assert rows["a net built anew, with the file's weights"]["logits"] == "0.0"

    words = [*("model=resnet20", "model.width=4", "model.depth=8", f"model.weights={folder / 'model.safetensors'}")]
    words += [*("transfer=full", "optimizer.lr=1e-30", "augment=none", "callbacks=none", "trainer.max_epochs=1")]
    found = train([*words, "data=folder", f"data.root={trained[0] / 'photos'}", "data.image_size=9", "data.channels=1",
                   "data.check=off", "data.batch_size=16", "optimizer=sgd", f"paths.runs={tmp_path}"])  # fmt: skip
    assert found["test/accuracy"] == summary["metrics"]["test/accuracy"]

    assert go(f"run={one}", "export=safetensors", "compile=false", "parity_images=12") == 0  # over its own
    (tmp_path / "README.md").write_text("mine")
    assert go(f"run={one}", "export=safetensors", f"output={tmp_path / 'model.safetensors'}") == 2
    assert "README.md of another kind" in capsys.readouterr().err
    assert (tmp_path / "README.md").read_text() == "mine" and not (tmp_path / "model.safetensors").exists()
    assert go(f"run={one}", "export=safetensors", "preprocessing=resize") == 2
    assert "weights alone" in capsys.readouterr().err
