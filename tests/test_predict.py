"""`python predict.py` from the outside: good, odd and broken files, and that its word is the run's own."""

import csv
import errno
import io
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from engine.data_and_task import build_data
from models import load_run
from predict import predict, run
from reports.predictions import replaced_when_whole
from settings.commands.launch import launch
from settings.commands.predict import COMMAND, compose_jobs
from settings.errors import StorageError
from settings.reading.compose import compose
from train import train

ROOT = Path(__file__).parents[1]
DIGITS = load_digits()
ODD = 'sub dir, é/a "b"\nc=d, [1].png'


def go(*arguments):
    return launch(run, arguments, compose_jobs=compose_jobs, help_page=COMMAND.format_help)


def picture(number, side=8):
    pixels = (DIGITS.images[number] * 255 / 16).astype(np.uint8)
    return Image.fromarray(pixels).convert("RGB").resize((side, side + number % 3))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a folder of scans of several sizes, and the overrides that made it."""
    folder = tmp_path_factory.mktemp("predict")
    for number in range(160):
        label = DIGITS.target[number] % 3
        target = folder / "photos" / f"class {label}" / f"{number:03}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture(number, 12 + number % 5).save(target)
    overrides = [
        *("data=folder", f"data.root={folder / 'photos'}", "data.image_size=10", "data.check=off", "seed=1"),
        *("model=resnet20", "model.width=4", "model.depth=8", "trainer.max_epochs=2", "callbacks=none", "augment=none"),
        *(f"paths.runs={folder / 'runs'}", f"paths.data={folder / 'data'}", "name=one", "data.batch_size=16"),
    ]
    metrics = train(overrides)
    return folder, folder / "runs" / "folder-resnet20" / "one", overrides, metrics


def rows_of(file):
    with file.open(newline="", encoding="utf-8") as text:
        return list(csv.DictReader(text))


def test_the_test_images_get_what_the_run_said_of_them_to_the_last_digit(trained, tmp_path):
    folder, one, overrides, metrics = trained
    data, _ = build_data(compose(overrides))
    net = load_run(one).net
    with torch.inference_mode():
        batches = [data.evaluation_batch(batch) for batch in data.test_dataloader()]
        expected = torch.cat([net(images).double().softmax(dim=1) for images, _ in batches])
        targets = torch.cat([labels for _, labels in batches])
    tested = [row for row in rows_of(one / "splits.csv") if row["split"] == "test"]
    assert len(tested) == len(targets) > 16, "more than one batch"
    listed = folder / "photos" / "tested.csv"
    listed.write_text("label,file\n" + "".join(f"{row['class']},{row['file']}\n" for row in tested), encoding="utf-8")
    for workers in (0, 2):
        output = tmp_path / f"{workers}.csv"
        assert go(f"run={one}", f"images={listed}", f"output={output}", f"num_workers={workers}") == 0
        rows = rows_of(output)
        assert [row["path"] for row in rows] == [row["file"] for row in tested]
        names = data.class_names
        found = [[row[name] for name in names] for row in rows]
        assert found == [[f"{value:.9g}" for value in row] for row in expected.tolist()]
        assert [row["class"] for row in rows] == [names[k] for k in expected.argmax(dim=1).tolist()]
        assert [float(row["probability"]) for row in rows] == [max(float(row[name]) for name in names) for row in rows]
        hits = [row["class"] == line["class"] for row, line in zip(rows, tested, strict=True)]
        assert sum(hits) / len(hits) == metrics["test/accuracy"]


@pytest.fixture
def mixed(tmp_path):
    """Images that can be read, in odd places, and files that cannot."""
    folder = tmp_path / "my pictures, 2024 [new]"
    (folder / ODD).parent.mkdir(parents=True)
    picture(0, 20).save(folder / ODD)
    frames = [picture(number, 21) for number in (3, 6)]
    frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1:])
    picture(9, 30).save(folder / "whole.jpg")
    jpeg = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.jpg").write_text("I am no image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "bomb.png").write_bytes(bomb())
    (folder / "x.jpg").mkdir()
    Image.new("L", (1, 2_000_000)).save(folder / "hair.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.bmp").symlink_to("nowhere.bmp")
    (folder / "camera.HEIC").write_bytes(b"\0")
    (folder / "notes.md").write_text("not meant")
    (folder / ".hidden.png").write_bytes(jpeg)
    return folder


def bomb():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


REASONS = {
    "cut.jpg": "damaged",
    "text.jpg": "not an image",
    "empty.png": "empty file",
    "bomb.png": "more than 100 megapixels",
    "x.jpg": "a folder",
    "hair.png": "too narrow: 1 x 2000000 pixels",
    "pipe.png": "not a file",
    "gone.bmp": "not there",
    "camera.HEIC": ".heic file, to be converted to JPEG or PNG",
}
READ = {ODD, "moves.gif", "whole.jpg"}


def test_a_folder_with_broken_files_is_predicted_without_loss(trained, mixed):
    output = mixed.parent / "out, 1" / "rows.csv"
    command = [sys.executable, "predict.py", f"run={trained[1]}", f"images={mixed}", f"output={output}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert said[-1] == f"predictions: {output}"
    assert f"passed over: 1 .md files ({mixed / 'notes.md'})" in said
    assert "3 images predicted; 9 not read: " in said[-3]
    rows = {str(Path(row["path"]).relative_to(mixed)): row for row in rows_of(output)}
    assert {name: row["reason"] for name, row in rows.items() if row["reason"]} == REASONS
    assert set(rows) == READ | set(REASONS)
    for name in REASONS:
        assert {rows[name][key] for key in ("class", "probability", "class 0")} == {""}
    for name in READ:
        shares = {key: float(rows[name][key]) for key in ("class 0", "class 1", "class 2")}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-6)
        assert rows[name]["class"] == max(shares, key=shares.get)
    first = mixed / "first.png"
    with Image.open(mixed / "moves.gif") as frame:
        frame.convert("RGB").save(first)
    (single,) = predict(f"run={trained[1]}", f"images={first}")
    assert single["probabilities"]["class 1"] == pytest.approx(float(rows["moves.gif"]["class 1"]), abs=1e-6)
    page = (output.parent / "rows-least-certain.html").read_text(encoding="utf-8")
    assert page.count("<figure") == len(READ)
    for reason in REASONS.values():
        assert reason in page
    assert sorted(path.name for path in output.parent.iterdir()) == ["rows-least-certain.html", "rows.csv"]


def test_lists_globs_and_formats(trained, mixed, monkeypatch, capsys):
    one = f"run={trained[1]}"
    monkeypatch.chdir(mixed.parent)
    name = mixed.name
    table = mixed / "list; of.csv"
    quoted = ODD.replace('"', '""')
    table.write_text(f'﻿id;Path\n1;whole.jpg\n2;"{quoted}"\n3;none.png\n4;\n', encoding="utf-8")
    assert go(one, f"images={table}", "output=rows.jsonl", "gallery=null") == 0
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["path"] for row in rows] == ["whole.jpg", ODD, "none.png", ""]
    assert [row["reason"] for row in rows] == [None, None, "not there", "line 6 names no file"]
    assert list(rows[0]["probabilities"]) == ["class 0", "class 1", "class 2"]
    assert rows[2]["class"] is rows[2]["probability"] is rows[2]["probabilities"] is None
    assert not list(Path.cwd().glob("*least*"))

    def found(images):
        return [(row["path"], row["reason"]) for row in predict(one, f"images={images}")]

    (mixed / "a, b.png").write_bytes((mixed / "whole.jpg").read_bytes())
    (mixed / "bare.csv").write_text("a, b.png\nwhole.jpg\n")
    (mixed / "lines.txt").write_bytes(b"\xef\xbb\xbfa, b.png\r\n\n  \nwhole.jpg")
    (mixed / "named.csv").write_text("image\na, b.png\nwhole.jpg\n")
    for listed in ("bare.csv", "lines.txt", "named.csv"):
        assert found(mixed / listed) == [("a, b.png", None), ("whole.jpg", None)]
    piped = io.BytesIO(f"{name}/a, b.png\n{name}/none.png\n".encode())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(piped))
    assert found("-") == [(f"{name}/a, b.png", None), (f"{name}/none.png", "not there")]
    assert found(mixed / "whole.jpg") == [(str(mixed / "whole.jpg"), None)]
    escaped = f"{name.replace('[', '[[]')}/**/*[1]*.png"
    (mixed / "sub dir, é" / "1").mkdir()
    picture(2).save(mixed / "sub dir, é" / "1" / "x1.png")
    assert found(escaped) == [(f"{name}/sub dir, é/1/x1.png", None), (f"{name}/{ODD}", None)]
    (mixed / "ten").mkdir()
    for number in (10, 9):
        picture(number).save(mixed / "ten" / f"p{number}.png")
    assert [Path(path).name for path, _ in found(mixed / "ten")] == ["p9.png", "p10.png"]
    bad = os.fsencode(mixed / "ten") + b"/\xff.png"
    Path(os.fsdecode(bad)).write_bytes((mixed / "whole.jpg").read_bytes())
    capsys.readouterr()
    assert go(one, f"images={mixed / 'ten'}", "output=bytes.csv") == 0
    assert [row["path"][-11:] for row in rows_of(Path("bytes.csv"))][-1].endswith("\\udcff.png")


def test_the_screen_shows_the_five_likeliest(trained, mixed, capsys):
    assert go(f"run={trained[1]}", f"images={mixed}") == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if "whole.jpg" in line]
    shares = [float(share) for share in re.findall(r"class \d (\d\.\d{4})", row)]
    assert len(shares) == 3 and shares == sorted(shares, reverse=True)
    (row,) = [line for line in lines if "text.jpg" in line]
    assert row.endswith("not read: not an image")
    assert not list(mixed.parent.glob("*least*"))


def test_other_channels_and_many_images_at_once(trained, tmp_path):
    """A net of grey images takes colour pictures, and the size of batches changes nothing but the last digits."""
    folder, one, _, _ = trained
    base = predict(f"run={one}", f"images={folder / 'photos'}", "batch_size=160")
    for arguments in (["batch_size=1"], ["batch_size=7", "num_workers=2"]):
        rows = predict(f"run={one}", f"images={folder / 'photos'}", *arguments)
        assert [row["path"] for row in rows] == [row["path"] for row in base]
        for row, like in zip(rows, base, strict=True):
            assert row["probabilities"] == pytest.approx(like["probabilities"], abs=1e-6)
    train(
        [
            *("data=digits", "model=mlp", "trainer.max_epochs=8", "callbacks=none", "name=grey"),
            *("optimizer.lr=0.01", f"paths.runs={tmp_path}"),
        ]
    )
    for number in range(30):
        pixels = Image.fromarray((DIGITS.images[number] * 255 / 16).astype(np.uint8))
        kind = ("L", "RGB", "P", "I;16", "CMYK")[number % 5]
        if kind == "I;16":
            Image.fromarray(np.asarray(pixels).astype(np.uint16) * 257).save(tmp_path / f"{number}.png")
        elif kind == "P":
            pixels.quantize(256).save(tmp_path / f"{number}.png")
        else:
            pixels.convert(kind).save(tmp_path / f"{number}.{'tif' if kind == 'CMYK' else 'png'}")
    rows = predict(f"run={tmp_path / 'digits-mlp' / 'grey'}", f"images={tmp_path}/[0-9]*.*")
    right = [row["class"] == str(DIGITS.target[int(Path(row["path"]).stem)]) for row in rows]
    assert len(right) == 30 and sum(right) >= 27


def test_the_gallery_holds_the_least_certain_in_order(trained, tmp_path):
    folder, one, _, _ = trained
    images = f"images={folder / 'photos'}"
    page = tmp_path / "page.html"
    rows = predict(f"run={one}", images, f"gallery={page}", "gallery_images=6", "batch_size=9")
    least = sorted(rows, key=lambda row: row["probability"])[:6]
    text = page.read_text(encoding="utf-8")
    assert re.findall(r'<figure title="([^"]*)"', text) == [row["path"] for row in least]
    for row in least:
        assert f"{row['probability']:.0%} {row['class']}" in re.sub(r"<[^>]*>|\s+", " ", text).replace("  ", " ")
    assert "<script" not in text and "http" not in text.replace("http-equiv", "")


MISTAKES = {
    "": ["run is needed", "images is needed"],
    "run=nowhere images=nothing": ["run=nowhere: ", "images=nothing: there is no such file"],
    "run=RUN images=photoss": ["nearest: photos"],
    "run=RUN,RUN/checkpoints/last.ckpt images=photos": ["names 2 runs, and one is needed"],
    "run=RUN images=void": ["there is no image"],
    "run=RUN images=void/*.png": ["there is no image"],
    "run=RUN images=bad": ["none of 1 files could be read: 1 not an image"],
    "run=RUN images=list.csv output=list.csv": ["one of the files to read"],
    "run=RUN images=list.csv output=o.csv gallery=photos/a.html": ["one of the files to read"],
    "run=RUN images=photos output=o.xlsx": [".csv or .jsonl"],
    "run=RUN images=photos output=photos.csv/o.csv": ["cannot be written"],
    "run=RUN images=photos device=cuda": ["device=cuda: there is none here"],
    "run=RUN imags=photos bs=3 batch_size=0 num_workers=x gallery_images=1.5 gpu=0": [
        "nearest: images",
        "write batch_size",
        "batch_size=0: must be a whole number from 1 to 65536",
        "num_workers=x: must be a whole number",
        "gallery_images=1.5",
        "write device",
    ],
    "run=RUN images=photos run=RUN": ["run is given 2 times"],
    "photos": ["'photos': must be key=value"],
    "-m run=RUN images=photos": ["-m"],
    "run=a.png images=photos": ["cannot read the weights in ", "a.png: "],
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_end_with_2_and_say_what_to_do(arguments, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    picture(1).save(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / "a.html").write_bytes((tmp_path / "photos" / "a.png").read_bytes())
    (tmp_path / "a.png").write_bytes((tmp_path / "photos" / "a.png").read_bytes())
    (tmp_path / "void").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_text("text")
    (tmp_path / "list.csv").write_text("file\nphotos/a.png\nphotos/a.html\n")
    (tmp_path / "photos.csv").write_text("")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if "device=cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert go(*[word.replace("RUN", str(trained[1])) for word in arguments.split()]) == 2
    said = capsys.readouterr().err
    for part in MISTAKES[arguments]:
        assert part in said
    assert "Traceback" not in said and len(said.splitlines()) <= 12
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_without_its_card_is_refused(trained, tmp_path, capsys):
    stored = torch.load(trained[1] / "checkpoints" / "best.ckpt", weights_only=True)
    card = stored["lightbox"]
    torch.save({"model": stored["state_dict"], "epoch": 3}, tmp_path / "foreign.ckpt")
    torch.save({**stored, "lightbox": {**card, "class_names": None, "preprocessing": {}}}, tmp_path / "bare.ckpt")
    torch.save(
        {**stored, "lightbox": {**card, "preprocessing": {"image_size": 8}, "class_names": ["a"] * 3}},
        tmp_path / "half.ckpt",
    )
    picture(1).save(tmp_path / "a.png")
    for file, parts in {
        "foreign.ckpt": ["no key 'lightbox'", "class names", "it holds model, epoch"],
        "bare.ckpt": ["lacks class_names, preprocessing"],
        "half.ckpt": ["missing ['channels', 'interpolation', 'mean', 'resize', 'std']"],
    }.items():
        assert go(f"run={tmp_path / file}", f"images={tmp_path / 'a.png'}") == 2
        said = capsys.readouterr().err
        assert all(part in said for part in parts), said


def test_what_is_stopped_leaves_nothing_behind(trained, mixed, monkeypatch, capsys):
    from reports import gallery

    def stop(self, one):
        raise KeyboardInterrupt

    monkeypatch.setattr(gallery.Gallery, "add", stop)
    output = mixed.parent / "rows.csv"
    output.write_text("from before")
    assert go(f"run={trained[1]}", f"images={mixed}", f"output={output}") == 130
    assert output.read_text() == "from before"
    assert sorted(path.name for path in mixed.parent.iterdir()) == [mixed.name, "rows.csv"]


def test_a_prediction_imports_no_lightning(trained, mixed):
    code = f"""
import runpy, sys
sys.argv = ["predict.py", {f"run={trained[1]}"!r}, {f"images={mixed / 'whole.jpg'}"!r}]
try:
    runpy.run_path("predict.py", run_name="__main__")
except SystemExit as stop:
    assert not stop.code
assert not {{"lightning", "torchmetrics", "matplotlib"}} & set(sys.modules), "predict.py starts slowly"
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_help_comes_without_a_heavy_import():
    code = (
        "import runpy, sys; sys.argv = ['predict.py', '--help']\ntry: runpy.run_path('predict.py', run_name='__main__')"
    )
    code += "\nexcept SystemExit as stop: assert not stop.code\nprint('modules:', *sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    page, _, modules = result.stdout.rpartition("modules:")
    assert not {"torch", "hydra", "pydantic", "PIL"} & set(modules.split())
    for word in COMMAND.keys:
        assert f"  {word} " in page
    assert max(map(len, page.splitlines())) <= 110


@pytest.mark.parametrize("name", ["softmax", "whole", "interrupted"])
def test_an_older_run_predicts_as_its_own_commit_did(name, tmp_path):
    """Runs of commit 2dbfc41: `tests/reliability/test_older_checkpoints.py` says how they were made."""
    run = ROOT / "tests" / "fixtures" / "runs_of_2dbfc41" / name
    expected = json.loads((run / "expected.json").read_text())["probabilities"]
    for key in expected:
        Image.fromarray((DIGITS.images[int(key)] * 15.9375).round().astype(np.uint8)).save(tmp_path / f"{key}.png")
    for row in predict(f"run={run}", f"images={tmp_path}"):
        now = [row["probabilities"][str(digit)] for digit in range(10)]
        assert now == pytest.approx(expected[Path(row["path"]).stem], abs=1e-6), row["path"]


def test_a_full_disk_ends_with_4_and_leaves_what_was_there(tmp_path):
    target = tmp_path / "rows.csv"
    target.write_text("from before")
    with pytest.raises(StorageError) as stop, replaced_when_whole(target, "output") as fresh:
        fresh.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(fresh))
    assert stop.value.exit_code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"] and target.read_text() == "from before"
