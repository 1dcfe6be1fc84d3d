"""`python explore.py` from the outside: its keys, its pictures, and that they show what training sees."""

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from datamodules.transforms import normalise
from engine.data_and_task import build_data
from engine.looks.augment import recipe_text
from engine.looks.results import train_line
from explore import explore, looks, run
from models.build import build_net
from settings.commands.explore import compose_jobs, format_help
from settings.commands.keys import keys_of
from settings.commands.launch import launch
from settings.commands.topics import TOPICS
from settings.errors import UserError
from settings.reading.compose import compose
from train import train

ROOT = Path(__file__).parents[1]
FASHION = ["do=augment", "data=fashion_mnist"]


def go(*arguments):
    return launch(run, arguments, compose_jobs=compose_jobs, help_page=format_help)


def test_help_names_topics_and_keys_without_a_heavy_import():
    code = (
        "import runpy, sys; sys.argv = ['explore.py', '--help']\ntry: runpy.run_path('explore.py', run_name='__main__')"
    )
    code += "\nexcept SystemExit as stop: assert not stop.code\nprint('modules:', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    page, _, modules = result.stdout.rpartition("modules:")
    assert not {"torch", "hydra", "pydantic", "matplotlib"} & set(modules.split())
    assert list(looks()) == list(TOPICS)
    for name, topic in TOPICS.items():
        assert f"  do={name} " in page
        assert all(f"    {key} " in page for key in [*keys_of(topic), "output"])
    assert max(map(len, page.splitlines())) <= 110


MISTAKES = {
    "": ["do is needed", "do=augment"],
    "do=augmnt": ["do=augmnt: must be one of", "nearest: augment"],
    "do=augment outptu=a.png": ["unknown key outptu", "output"],
    "do=augment output=sheet.jpg": ["sheet.jpg", ".png"],
    "do=augment images=1": ["images=1", "from 2 to 32"],
    "do=lr images=4": ["images is a key of do=augment", "do=lr has output, steps"],
    "do=batch_size memory=2 largest=0": [
        "memory=2: must be a number more than 0 and at most 1",
        "largest=0",
        "from 1 to 1000000",
    ],
    "do=nets nets=lenet5,vgg166": ["unknown model 'vgg166'", "vgg16"],
    "do=layers pixels=0 repeats=2 model=lenet": ["pixels=0", "repeats is a key of do=nets", "lenet5"],
    "do=lr step=4": ["unknown key step; nearest: steps"],
    "do=lr rates=0.1": ["rates=0.1: must be 2 to 8 different rates"],
    "do=lr rates=0.1,0.1,x output=a.csv steps=3": ["different numbers more than 0", "ends in .png", "from 10 to 10000"],
    "do=lr lowest=1 highest=2": ["highest=2", "10 times lowest=1"],
    "do=lr lowest=-1 optimizer.lrr=1": ["lowest=-1: must be a number more than 0", "optimizer.lr"],
    "do=augment draws=many": ["draws=many", "whole number"],
    "do=augment augment=strang": ["unknown augment 'strang'", "strong"],
    "do=augment epochs=3 augment=light": ["unknown key epochs", "trainer.max_epochs"],
    "do=augment augment=light,strong": ["add -m"],
    "do=augmnt optimizer.lrr=1 images=99": ["augmnt", "optimizer.lr", "images=99"],
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_named_together(arguments, capsys):
    assert go(*arguments.split()) == 2
    said = capsys.readouterr().err
    for part in MISTAKES[arguments]:
        assert part in said
    assert len(said.splitlines()) <= 12
    assert "Traceback" not in said


def test_every_recipe_gets_a_picture_of_its_own(tmp_path):
    jobs = compose_jobs([*FASHION, f"paths.runs={tmp_path}"], multirun=False)
    assert [job.recipe for job in jobs][:3] == ["light", "standard", "strong"]
    assert jobs[0].output == tmp_path / "explore/augment-fashion_mnist-light.png"
    assert len({job.output for job in jobs}) == len(jobs)
    (one,) = compose_jobs([*FASHION, "augment=strong", f"output={tmp_path / 'a, b=c.png'}"], multirun=False)
    assert one.output == tmp_path / "a, b=c.png"
    grid = compose_jobs([*FASHION, "augment=light,strong", "seed=0,1", f"output={tmp_path / 's.png'}"], multirun=True)
    assert [job.output.name for job in grid] == ["s-light.png", "s-light-2.png", "s-strong.png", "s-strong-2.png"]
    (own,) = compose_jobs([*FASHION, "augment.random_crop.padding=0.1"], multirun=False)
    assert (own.recipe, list(own.config.augment)) == ("recipe", ["random_crop"])


def test_the_sheet_is_written_and_holds_the_images(tmp_path, capsys):
    target = tmp_path / "deep" / "sheet.png"
    arguments = ["do=augment", "augment=strong", f"output={target}", "images=5", "draws=2"]
    assert go(*arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"sheet: {target}"
    assert "augment.horizontal_flip is left out" in said[0]
    with Image.open(target) as picture:
        picture.load()
        assert picture.width > 700 and picture.height > 500
        assert len(set(picture.convert("L").tobytes())) > 50
    again = tmp_path / "again.png"
    explore(*arguments[:2], f"output={again}", *arguments[3:])
    assert again.read_bytes() == target.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.png", "deep"]


def test_a_place_that_cannot_be_written_is_a_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        explore("do=augment", "augment=light", f"output={tmp_path / 'file' / 'a.png'}")


def test_the_draws_are_those_of_training():
    (job,) = compose_jobs(["do=augment", "augment=strong", "seed=3"], multirun=False)
    data, _ = build_data(job.config, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    for step in (0, 5):
        images, targets = data.augmented_batch(batch, step=step)
        assert images.dtype == torch.uint8
        expected = data.train_batch(batch, step=step)
        assert torch.equal(normalise(images, data.effective_preprocessing), expected[0])
        assert torch.equal(targets, expected[1])
    chosen = torch.arange(12)
    plain, *drawn = data.drawn_batches(chosen, draws=3)
    assert torch.equal(plain[0], data.splits["train"][chosen][0])
    for step, (images, targets) in enumerate(drawn):
        expected = data.augmented_batch(data.splits["train"][chosen], step=step)
        assert torch.equal(images, expected[0]) and torch.equal(targets, expected[1])
    assert not torch.equal(drawn[0][0], drawn[1][0]) and not torch.equal(drawn[1][0], drawn[2][0])
    assert "left out, as data.forbid has it: horizontal_flip" in recipe_text(job.config)


def test_the_range_test_says_what_to_type_and_leaves_two_files(tmp_path, capsys):
    target = tmp_path / "a b" / "range.png"
    arguments = ["model=lenet5", "data.batch_size=32", f"paths.runs={tmp_path / 'runs'}"]
    assert go("do=lr", "steps=60", f"output={target}", *arguments, "optimizer.lr=0.5") == 0
    *_, typed, numbers, picture = capsys.readouterr().out.splitlines()
    assert (numbers, picture) == (f"numbers: {target.with_suffix('.csv')}", f"picture: {target}")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a b", "range.csv", "range.png"]
    command = shlex.split(typed.removeprefix("to type: "))
    assert command[:2] == ["python", "train.py"] and "optimizer.lr=0.5" not in command
    suggested = compose(command[2:])
    with target.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["lr"]) == pytest.approx(1e-6) and 40 <= len(rows) <= 60
    lowest = min(rows, key=lambda row: float(row["running_mean"]))
    assert suggested.optimizer.lr == pytest.approx(float(lowest["lr"]) / 10, rel=0.05)
    assert 1e-4 < suggested.optimizer.lr < 0.05


def test_rates_are_compared_in_one_picture(tmp_path, capsys):
    target = tmp_path / "rates.png"
    arguments = ["model=lenet5", "rates=1e-6,0.003,1e6", "steps=30", f"output={target}"]
    assert explore("do=lr", *arguments) == [target]
    said = capsys.readouterr().out.splitlines()
    assert said[3] == "to type: python train.py model=lenet5 optimizer.lr=0.003"
    with Image.open(target) as picture:
        assert len(set(picture.convert("L").tobytes())) > 50
    with target.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = [row["loss"] for row in rows if row["step"] == "1"]
    assert len(first) == 3 and len(set(first)) == 1


def test_batch_sizes_are_tried_and_one_is_named(tmp_path, capsys):
    target = tmp_path / "sizes.csv"
    assert explore("do=batch_size", "model=lenet5", "largest=32", "steps=2", f"output={target}") == [target]
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"numbers: {target}"
    assert re.fullmatch(r"to type: python train\.py model=lenet5 data\.batch_size=(8|16|32)", said[-2])
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["batch_size"] for row in rows] == ["8", "16", "32"]
    assert all(float(row["images_per_second"]) > 1 for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["sizes.csv"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A net that knows clothes a little."""
    runs = tmp_path_factory.mktemp("runs")
    data = ["data=fashion_mnist", "data.fraction=0.15", "data.val_fraction=0.02", f"paths.runs={runs}", "test=false"]
    train([*data, "model=lenet5", "optimizer.lr=0.003", "trainer.max_epochs=4", "callbacks.report=null"])
    return next(runs.rglob("best.ckpt"))


def test_weights_that_learnt_nothing_are_of_no_use(tmp_path, capsys):
    torch.manual_seed(0)
    net = build_net(name="lenet5", num_classes=10, in_channels=1, image_size=28)
    torch.save(net.state_dict(), tmp_path / "random.pth")
    words = ["data.per_class=20", "data.image_size=28", "model=lenet5", f"model.weights={tmp_path / 'random.pth'}"]
    explore("do=data", *words, "sample=200", f"output={tmp_path / 'found.json'}")
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["similarity"], found["advice"]["mode"]) == ("very dissimilar", None)
    gain = found["probes"]["pretrained"]["linear"] - found["probes"]["untrained"]["linear"]
    assert abs(gain) < 0.1  # 200 images: the standard error of each is 0.02
    said = capsys.readouterr().out.splitlines()
    assert said[-2] == f"to type: {found['command']}" and compose(shlex.split(found["command"])[2:])


@pytest.mark.slow
def test_data_and_advice_with_weights(tmp_path, weights, capsys):
    found = {}
    for data in ("fashion_mnist", "digits"):
        target = tmp_path / f"{data}.json"
        words = [f"data={data}", "data.per_class=50", "model=lenet5", f"model.weights={weights}"]
        explore("do=data", *words, "sample=400", f"output={target}")
        said = capsys.readouterr().out.splitlines()
        assert said[-1] == f"findings: {target}"
        found[data] = json.loads(target.read_text())
        assert found[data]["missing"] == [] and said[-2] == f"to type: {found[data]['command']}"
        command = shlex.split(found[data]["command"])[2:]
        config = compose(command)
        assert config.transfer.name == (found[data]["advice"]["mode"] or "full")
        assert config.data.batch_size == 16
        assert f"model.weights={weights}" in command
    clothes, digits = found["fashion_mnist"]["probes"], found["digits"]["probes"]
    assert clothes["pretrained"]["linear"] > clothes["untrained"]["linear"] + 0.04
    gained = {name: found[name]["share_of_error_taken_away"] for name in found}
    assert gained["fashion_mnist"] > gained["digits"]
    assert found["digits"]["similarity"] == "very dissimilar"
    assert digits["pixels"]["linear"] > 0.9
    assert found["fashion_mnist"]["overview"]["images"]["train"] == 500


def test_without_weights_on_the_machine_the_data_is_looked_at(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("models.published._reachable", lambda address: False)
    target = tmp_path / "found.json"
    assert go("do=data", "model=mobilenet_v3_small", "data.image_size=32", f"output={target}") == 0
    said = capsys.readouterr().out
    assert "images: train 1293, val 145, test 359" in said
    assert "not compared: the weights mobilenet_v3_small" in said and str(tmp_path / "empty") in said
    assert "with the weights, type: python train.py model=mobilenet_v3_small" in said
    stored = json.loads(target.read_text())
    assert stored["probes"] is None and len(stored["missing"]) == 2
    assert go("do=data", f"output={target}") == 0
    assert "add model=NAME" in capsys.readouterr().out


def test_a_mode_without_weights_drops_them_from_the_command():
    config = compose(["model=lenet5", "transfer=partial", "transfer.stages=1", "transfer.allow_random=true", "seed=1"])
    config.command += ["model.weights=a.pth"]
    assert train_line(config, transfer="scratch") == "python train.py model=lenet5 seed=1 transfer=scratch"
    assert "model.weights=a.pth" in train_line(config, transfer="full")


def test_nets_side_by_side_with_what_runs_reached(tmp_path, capsys):
    for name, accuracy in (("a", 0.9), ("b", 0.92)):
        folder = tmp_path / "runs/digits-lenet5" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("data:\n  name: digits\nmodel:\n  name: lenet5\n")
        (folder / "summary.json").write_text(json.dumps({"status": "finished", "metrics": {"test/accuracy": accuracy}}))
    target = tmp_path / "nets.csv"
    words = ["do=nets", "nets=lenet5,resnet20,mobilenet_v3_small", f"paths.runs={tmp_path / 'runs'}"]
    assert go(*words, "repeats=1", f"output={target}") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"table: {target}"
    with target.open(newline="") as file:
        rows = {row["net"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["lenet5", "resnet20", "mobilenet_v3_small"]
    assert rows["lenet5"]["test_accuracy"] == "digits 0.9100 (2)" and rows["resnet20"]["test_accuracy"] == ""
    assert (rows["mobilenet_v3_small"]["image"], rows["mobilenet_v3_small"]["parameters"]) == ("3x224x224", "2542856")
    assert all(float(row["latency_ms"]) > 0 for row in rows.values())
    explore(*words[:1], "nets=lenet5,resnet20", "repeats=0", "data=fashion_mnist", *words[2:], f"output={target}")
    with target.open(newline="") as file:
        rows = {row["net"]: row for row in csv.DictReader(file)}
    assert rows["resnet20"]["image"] == "1x28x28" and rows["lenet5"]["test_accuracy"] == "", "other data"


def test_one_net_layer_by_layer(tmp_path, capsys):
    target = tmp_path / "layers.csv"
    assert go("do=layers", "model=vgg16", f"output={target}") == 0
    said = capsys.readouterr().out
    assert "138,357,544 weights, 15,470,264,320 MACs" in said and "15,470,264,320 MACs, the same" in said
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = next(row for row in rows if row["kind"] == "Conv2d")
    assert (first["output"], first["weights"], first["macs"]) == ("64x224x224", "1792", str(224 * 224 * 64 * 27))
    assert sum(int(row["macs"]) for row in rows) == 15_470_264_320
    assert go("do=layers", "model=lenet5", "data=digits", "pixels=28", "classes=7", f"output={target}") == 0
    assert "lenet5, one image of 1x28x28" in capsys.readouterr().out
    assert go("do=layers", "model=lenet5", "pixels=30", f"output={target}") == 2
    assert "28 or 32 pixels" in capsys.readouterr().err
