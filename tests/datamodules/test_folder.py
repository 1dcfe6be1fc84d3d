"""A folder as people have it: every kind of file, broken ones, odd names; what is used, reported and left out."""

import pytest
import torch
from PIL import Image

from datamodules.fashion_mnist import DEBIAN_FOLDER, FashionMNIST
from datamodules.folder import Folder
from models import load_run
from settings.errors import UserError
from settings.preprocessing import Preprocessing
from train import train


def folder(root, tmp_path, *, own=None, **settings):
    data = Folder(root=root, data_dir=tmp_path / "data", **(own or {}))
    data.prepare_data()
    data.configure(**({"val_fraction": 0.15} | settings))
    data.setup("fit")
    return data


def table(data):
    return {(key, split) for key, _, split in data.split_table()}


def place(root, *names):
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number % 256).save(path)


def pictures_by_name(source):
    names = [f"{target}/{key.rpartition('/')[2][:3]}" for target, key in zip(source.targets, source.keys, strict=True)]
    return {name: source.image(number, 1).float() for number, name in enumerate(names)}


def evaluated(data, split="val"):
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    return [torch.cat(parts) for parts in zip(*map(data.evaluation_batch, loader), strict=True)]


def test_a_wild_folder_is_read_as_its_clean_twin(twins, tmp_path, capsys):
    wild, clean = twins
    one = folder(wild, tmp_path)
    said = capsys.readouterr().out
    two = folder(clean, tmp_path)
    assert one.class_names == two.class_names == ("1", "2", "10")
    assert one.image_size == two.image_size == 28
    for split in ("train", "val", "test"):
        assert torch.equal(one.splits[split].targets, two.splits[split].targets)
        first, second = (pictures_by_name(data.splits[split]) for data in (one, two))
        assert first.keys() == second.keys()
        for name, image in first.items():
            assert (image - second[name]).abs().mean() < 3  # what JPEG loses
    assert set(one.splits["val"].targets.tolist()) == {1, 2}  # class 1 is missing there, and shifts no label
    head, *rest = said.splitlines()
    assert "3 classes (1 60, 2 60, 10 60 in train); train 180, val 40, test 60 images" in head
    for reason in (
        "2 damaged (train/1/cut.jpg, train/1/cut.png)",
        "1 not an image (train/2/text.jpg)",
        "2 empty file (",
        "1 .heic (train/2/phone.heic)",
        "1 .txt (train/2/notes.txt)",
        "1 float values outside 0..1 and 0..255 (train/2/nan.tif)",
        "1 empty folder (train/empty/)",
        "train/__MACOSX/",
        "train/10/.thumbs/",
        "outside class folders (root.png",
        "train/no class.png",
        "1 folder beside train that is no split (backup/)",
    ):
        assert reason in head
    assert rest == ["val has no image of 1"]
    named = {key: split for key, split in table(one) if split.startswith("left out")}
    assert named["train/2/phone.heic"] == "left out: .heic"
    assert len(named) == 15


def test_one_folder_of_classes_is_split_by_file_and_new_files_move_no_old_one(tmp_path):
    root = tmp_path / "cats, dogs"
    names = [f"{name}/{number}.png" for name in ("cats", "dogs") for number in range(200)]
    place(root, *names)
    first = folder(root, tmp_path)
    share = {split: len(source) / 400 for split, source in first.splits.items()}
    assert share == pytest.approx({"train": 0.7, "val": 0.15, "test": 0.15}, abs=0.05)
    place(root, *(f"cats/new {number}.png" for number in range(100)), *(f"birds/{number}.png" for number in range(50)))
    second = folder(root, tmp_path)
    assert {key: split for key, _, split in first.split_table()}.items() <= {
        key: split for key, _, split in second.split_table()
    }.items()
    assert second.class_names == ("birds", "cats", "dogs")
    assert table(folder(root, tmp_path, seed=5)) == table(second)
    assert table(folder(root, tmp_path, split_seed=5)) != table(second)


@pytest.mark.parametrize("split_seed", range(8))
def test_every_split_has_each_class_that_has_three_images(split_seed, tmp_path):
    place(tmp_path / "x", *(f"{name}/{number}.png" for name in "abcdefgh" for number in range(3)))
    data = folder(tmp_path / "x", tmp_path, split_seed=split_seed)
    for source in data.splits.values():
        assert source.targets.tolist() == list(range(8))


def test_a_missing_validation_set_is_cut_from_train_and_a_missing_test_set_is_reported(tmp_path, capsys):
    root = tmp_path / "photos"
    place(root, *(f"Train/{name}/{number}.png" for name in "ab" for number in range(100)))
    data = folder(root, tmp_path)
    assert set(data.splits) == {"train", "val"}
    assert 10 <= len(data.splits["val"]) <= 50
    assert "there are no test images" in capsys.readouterr().out
    with pytest.raises(UserError, match="no test images"):
        data.test_dataloader()


def test_folders_of_valid_and_invalid_things_are_classes_where_there_is_no_train(tmp_path):
    place(tmp_path / "x", *(f"{name}/{number}.png" for name in ("valid", "invalid", "test") for number in range(9)))
    assert folder(tmp_path / "x", tmp_path).class_names == ("invalid", "test", "valid")


def test_two_names_for_one_split_and_empty_or_flat_folders_are_refused(tmp_path):
    place(tmp_path / "a", "train/x/1.png", "val/x/1.png", "valid/x/1.png")
    with pytest.raises(UserError, match=r"val and valid both mean val"):
        folder(tmp_path / "a", tmp_path)
    place(tmp_path / "b", "1.png", "2.png")
    with pytest.raises(UserError, match=r"2 outside class folders[\s\S]*label_from"):
        folder(tmp_path / "b", tmp_path)
    place(tmp_path / "c", "one/1.png", "one/2.png")
    with pytest.raises(UserError, match=r"1 class with readable images"):
        folder(tmp_path / "c", tmp_path)
    (tmp_path / "d").mkdir()
    with pytest.raises(UserError, match="it is empty"):
        folder(tmp_path / "d", tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        folder(tmp_path / "e", tmp_path)


def test_labels_and_groups_come_from_file_names(tmp_path):
    names = [
        f"{name}_p{person:02d}_{number}.png" for name in ("cat", "dog") for person in range(40) for number in "abc"
    ]
    place(tmp_path / "flat", *names, "other.png")
    own = {"label_from": "^([a-z]+)_", "group_by": "(?P<group>p[0-9]+)"}
    data = folder(tmp_path / "flat", tmp_path, own=own)
    assert data.class_names == ("cat", "dog")
    where: dict[str, set[str]] = {}
    for key, _, split in data.split_table():
        if split.startswith("left out"):
            assert (key, split) == ("other.png", "left out: data.label_from finds no label")
        else:
            where.setdefault(key.split("_")[1], set()).add(split)
    assert len(where) == 40
    assert all(len(splits) == 1 for splits in where.values())
    assert {next(iter(splits)) for splits in where.values()} == {"train", "val", "test"}
    with pytest.raises(UserError, match="is found in no"):
        folder(tmp_path / "flat", tmp_path, own={**own, "group_by": "(zz)"})


def test_a_group_that_the_given_splits_tear_apart_is_refused(tmp_path):
    place(tmp_path / "x", "train/a/p1_1.png", "train/b/p2_1.png", "test/a/p1_2.png")
    with pytest.raises(UserError, match="group p1 stands both in train and in test"):
        folder(tmp_path / "x", tmp_path, own={"group_by": "(p[0-9])"})


def test_a_class_that_train_does_not_have_is_left_out(tmp_path, capsys):
    place(tmp_path / "x", *(f"train/{name}/{n}.png" for name in "ac" for n in range(9)), "test/a/1.png", "test/b/1.png")
    assert folder(tmp_path / "x", tmp_path).class_names == ("a", "c")
    assert "1 class that train does not have (test/b/1.png)" in capsys.readouterr().out


def test_the_same_file_in_two_splits_is_named_and_the_look_is_remembered(clothes, tmp_path, capsys, monkeypatch):
    root = tmp_path / "x"
    for number, image in enumerate(clothes["1"][:20]):
        for split in ("train", "test"):
            for name in "ab":
                (root / split / name).mkdir(parents=True, exist_ok=True)
        image.save(root / "train" / "ab"[number % 2] / f"{number}.png")
    for name in "ab":
        clothes["2"]["ab".index(name)].save(root / "test" / name / "own.png")
    (root / "test" / "a" / "copy.png").write_bytes((root / "train" / "b" / "3.png").read_bytes())
    folder(root, tmp_path)
    said = capsys.readouterr().out
    assert "1 images stand in two splits: " in said and "test test/a/copy.png" in said and "train/b/3.png" in said
    folder(root, tmp_path, own={"check": "quick"})
    assert "two splits" in capsys.readouterr().out  # remembered from the full look

    def never(*arguments):
        raise AssertionError("looked again")

    monkeypatch.setattr("datamodules.sources.checking.read_picture", never)
    folder(root, tmp_path)
    assert "two splits" in capsys.readouterr().out
    (root / "train" / "b" / "3.png").write_bytes((root / "train" / "b" / "5.png").read_bytes())
    with pytest.raises(AssertionError, match="looked again"):
        folder(root, tmp_path)


def test_quick_leaves_cut_files_to_be_skipped_when_they_are_read_and_full_leaves_them_out(tmp_path):
    place(tmp_path / "x", *(f"{name}/{number}.png" for name in "ab" for number in range(30)))
    bad = tmp_path / "x" / "a" / "bad.png"
    Image.effect_noise((90, 90), 50).save(bad)
    bad.write_bytes(bad.read_bytes()[:800])
    data = folder(tmp_path / "x", tmp_path, own={"check": "quick"}, num_workers=1, batch_size=50)
    assert data.bad_files() == {}
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        list(loader)
    assert data.bad_files() == {"a/bad.png": "damaged"}
    (source, index) = next(
        (one, list(one.keys).index("a/bad.png")) for one in data.splits.values() if "a/bad.png" in one.keys
    )
    with pytest.raises(UserError, match=r"a/bad.png: damaged; data.check=full"):
        source.image(index, 3)
    data = folder(tmp_path / "x", tmp_path, own={"check": "full"})
    assert ("a/bad.png", "left out: damaged") in table(data)
    assert data.bad_files() == {"a/bad.png": "damaged"}


def test_workers_change_nothing_and_images_come_at_the_size_asked_for(twins, tmp_path):
    size = Preprocessing(image_size=20, resize=24, interpolation="bicubic", channels=3, mean=(0.5,) * 3, std=(0.5,) * 3)
    found = []
    for workers in (0, 2):
        data = folder(twins[0], tmp_path, num_workers=workers, preprocessing=size, batch_size=16, recipe=PHOTO)
        batches = list(data.train_dataloader()), list(data.val_dataloader())
        assert batches[0][0][0].shape == (16, 3, 20, 20)
        assert batches[0][0][0].dtype == torch.uint8
        found.append(batches)
    for one, two in zip(*map(_flat, found), strict=True):
        assert torch.equal(one, two)
    from datamodules.transforms import fit_to

    images, _ = evaluated(data)
    expected = fit_to(data.splits["val"].image(3, 3)[None], size)[0]
    assert torch.allclose(images[3], (expected / 255 - 0.5) / 0.5, atol=1e-5)


PHOTO = {"random_resized_crop": {"scale": [0.3, 1.0]}, "horizontal_flip": {"p": 0.5}}


def _flat(batches):
    return [tensor for part in batches for batch in part for tensor in batch]


def test_augmented_images_differ_between_epochs_and_samples_and_never_in_evaluation(tmp_path):
    root = tmp_path / "x"
    for name in "ab":
        (root / name).mkdir(parents=True)
        for number in range(40):
            Image.radial_gradient("L").resize((40, 30)).save(root / name / f"{number}.png")
    for recipe in (PHOTO, {"RandomBrightnessContrast": {"p": 1.0}}):
        data = folder(root, tmp_path, recipe=recipe, num_workers=2, batch_size=8)
        loader = data.train_dataloader()
        drawn = [images for _ in range(2) for images, _ in loader]
        assert len({image.numpy().tobytes() for image in torch.cat(drawn)}) > 0.9 * sum(map(len, drawn))
        plain = torch.cat([images for images, _ in data.val_dataloader()])
        assert len({image.numpy().tobytes() for image in plain}) == 1


def test_names_stay_arrays(twins, tmp_path):
    keys = folder(twins[1], tmp_path).splits["train"].keys
    assert not any(isinstance(value, list | tuple | dict) for value in vars(keys).values())
    assert keys[0] == "train/1/000.png"
    assert keys[-1] == list(keys)[-1]
    assert list(keys[1:3]) == list(keys)[1:3]


def test_a_wild_folder_scores_as_its_clean_twin(twins, tmp_path):
    words = ["data=folder", "data.channels=1", "data.batch_size=16", "data.num_workers=0", "model=cnn"]
    words += ["model.widths=[8,8]", "trainer.max_epochs=6", "callbacks=none", f"paths.runs={tmp_path}"]
    scores = [train([*words, f"data.root={root}", f"paths.data={tmp_path}"])["test/accuracy"] for root in twins]
    assert min(scores) > 0.9
    assert abs(scores[0] - scores[1]) <= 2 / 60


@pytest.mark.slow
def test_a_thousand_wild_files_are_told_as_their_plain_twins_are(writers, tmp_path):
    words = ["data=fashion_mnist", "data.per_class=300", "model=cnn", "model.widths=[8,16]", "trainer.max_epochs=4"]
    train([*words, "test=false", "callbacks=none", "name=x", f"paths.runs={tmp_path}"])
    run = load_run(next(tmp_path.glob("*/x")))
    source = FashionMNIST(root=DEBIAN_FOLDER).sources()["test"].subset(torch.arange(1200))
    kinds = list(writers.values())
    for number, target in enumerate(source.targets.tolist()):
        image = Image.fromarray(source.images[number, 0].numpy())
        ending, write = kinds[number % len(kinds)]
        for twin, written, tail in (("wild", write, ending), ("plain", lambda image, path: image.save(path), ".png")):
            where = tmp_path / twin / "test" / str(target)
            where.mkdir(parents=True, exist_ok=True)
            written(image, where / f"{number:04d}{tail}")
    found = {}
    for twin in ("wild", "plain"):
        for split in ("train", "val"):
            place(tmp_path / twin, *(f"{split}/{target}/any.png" for target in range(10)))
        data = Folder(root=tmp_path / twin, data_dir=tmp_path, channels=1)
        data.prepare_data()
        data.configure(preprocessing=run.preprocessing, num_workers=2)
        data.setup()
        with torch.no_grad():
            guesses = [
                run.net(images).argmax(dim=1) for images, _ in map(data.evaluation_batch, data.test_dataloader())
            ]
        names = [key.rpartition("/")[2].partition(".")[0] for key in data.splits["test"].keys]
        found[twin] = dict(
            zip(names, zip(torch.cat(guesses).tolist(), data.splits["test"].targets.tolist(), strict=True), strict=True)
        )
        assert len(found[twin]) == 1200 and not data.bad_files()
    right = {twin: sum(guess == target for guess, target in answers.values()) for twin, answers in found.items()}
    alike = sum(found["wild"][name] == found["plain"][name] for name in found["plain"])
    print(f"of 1,200: right {right}, the same class {alike}")
    assert right["plain"] > 0.7 * 1200
    assert abs(right["wild"] - right["plain"]) <= 12
    assert alike >= 0.985 * 1200
