"""`python augment.py` from the outside: what is in the folder, and that training reads it at once."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from augment import augment, run
from datamodules.enlarge import folder_names
from engine.data_and_task import build_data
from settings.commands.augment import COMMAND, compose_jobs
from settings.commands.launch import launch
from settings.errors import UserError

ROOT = Path(__file__).parents[1]
SMALL = ["data=digits", "data.fraction=0.1"]


def go(*arguments):
    return launch(run, arguments, compose_jobs=compose_jobs, help_page=COMMAND.format_help)


def rows(folder):
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixels(path):
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture))


@pytest.fixture(scope="module")
def enlarged(tmp_path_factory):
    output = tmp_path_factory.mktemp("enlarged") / "a folder, new"
    return augment(*SMALL, "augment=standard", "copies=3", "seed=5", f"output={output}")


def test_the_folder_holds_originals_and_the_draws_of_training(enlarged):
    (job,) = compose_jobs([*SMALL, "augment=standard", "seed=5", "output=elsewhere"], multirun=False)
    data, _ = build_data(job.config)
    manifest = rows(enlarged)
    files = {path.relative_to(enlarged).as_posix() for path in enlarged.rglob("*.png")}
    assert files == {row["file"] for row in manifest} and len(files) == len(manifest)
    assert {(row["split"], row["copy"]) for row in manifest} == {
        *(("train", str(copy)) for copy in range(4)),
        *(("val", "0"), ("test", "0")),
    }
    for split, source in data.splits.items():
        everything = torch.arange(len(source))
        for copy in range(4 if split == "train" else 1):
            mine = [row for row in manifest if (row["split"], row["copy"]) == (split, str(copy))]
            assert [row["source"] for row in mine] == list(source.keys)
            batch = data.drawn_batch(everything, epoch=copy, step=copy) if copy else data.plain_batch(split, everything)
            for row, image, target in zip(mine, *batch, strict=True):
                assert torch.equal(pixels(enlarged / row["file"]), image[0])
                assert row["label"] == data.class_names[target] == Path(row["file"]).parent.name


def test_copies_differ_from_their_image_and_from_one_another(enlarged):
    manifest = [row for row in rows(enlarged) if row["split"] == "train"]
    kinds = [
        len({pixels(enlarged / row["file"]).numpy().tobytes() for row in manifest if row["source"] == one})
        for one in {row["source"] for row in manifest}
    ]
    assert sum(kinds) > 0.9 * len(manifest), "a draw may be the image itself"


def test_another_seed_gives_other_copies_and_the_same_seed_the_same(enlarged, tmp_path):
    for seed, same in ((5, True), (6, False)):
        again = augment(*SMALL, "augment=standard", "copies=1", f"seed={seed}", f"output={tmp_path / str(seed)}")
        copies = [row["file"] for row in rows(again) if row["copy"] == "1"]
        assert all((again / one).read_bytes() == (enlarged / one).read_bytes() for one in copies) == same


@pytest.mark.parametrize("how", ["csv", "folder"])
def test_training_reads_it_at_once_with_its_splits(enlarged, how):
    from settings.reading.compose import compose

    root = enlarged / "manifest.csv" if how == "csv" else enlarged
    data, _ = build_data(compose([f"data={how}", f"data.root={root}", "data.channels=1", "data.num_workers=0"]))
    counts = {split: len(source) for split, source in data.splits.items()}
    manifest = rows(enlarged)
    assert counts == {split: sum(row["split"] == split for row in manifest) for split in ("train", "val", "test")}
    assert data.class_names == tuple("0123456789")


def test_class_names_that_no_folder_can_have_are_kept_in_the_manifest(tmp_path):
    arguments = ["data=fashion_mnist", "data.per_class=2", "augment.affine.p=1", "copies=1", "format=jpg"]
    (job,) = compose_jobs([*arguments, f"output={tmp_path / 'out'}"], multirun=False)
    data, _ = build_data(job.config)
    data.splits = {"train": data.splits["train"]}  # 70,000 files are not needed to see it
    from datamodules.enlarge import write_enlarged

    assert write_enlarged(data, job.output, copies=1, ending="jpg") == {"train": 40}
    manifest = rows(job.output)
    assert {row["label"] for row in manifest} == set(data.class_names)
    assert any(row["file"].startswith("train/T-shirt_top/") and row["label"] == "T-shirt/top" for row in manifest)
    assert folder_names(["a/b", "a_b", "A_B", "..", "x."]) == ["a_b", "a_b_", "A_B__", "_", "x"]


MISTAKES = {
    "augment=standard": ["output is needed"],
    "augment=strong output=new": ["mixup and cutmix mix labels", "augment.mixup=null augment.cutmix=null"],
    "output=new": ["nothing in it is random"],
    "augment.adversarial_erasing.p=1 output=new": ["adversarial_erasing asks the net", "adversarial_erasing=null"],
    "augment=standard output=tests copies=0 format=gif": [
        "is there already",
        "copies=0: must be a whole number from 1 to 1000",
        "one of png, jpg",
    ],
    "augment=standard output=new copies=000000000004000000": ["from 1 to 1000"],
    "augment=standard outptu=new": ["unknown key outptu; nearest: output"],
    "augment=standrd output=new optimizer.lrr=1": ["standrd", "optimizer.lr"],
    "augment=standard output=new -m": ["-m"],
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_are_named_together(arguments, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert go(*arguments.split()) == 2
    said = capsys.readouterr().err
    assert all(part in said for part in MISTAKES[arguments]), said
    assert "Traceback" not in said and not (ROOT / "new").exists()


def test_a_folder_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        augment(*SMALL, "augment=standard", f"output={tmp_path / 'file' / 'new'}")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datamodules.enlarge._save", full)
    with pytest.raises(UserError, match="No space left"):
        augment(*SMALL, "augment=standard", f"output={tmp_path / 'new'}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_help_names_the_keys_without_a_heavy_import():
    code = "import sys; from settings.commands.augment import COMMAND; print(COMMAND.format_help()); "
    code += "assert not {'torch', 'hydra', 'pydantic'} & set(sys.modules)"
    page = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert all(f"  {key} " in page for key in COMMAND.keys)
