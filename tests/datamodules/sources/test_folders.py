"""Layouts of a folder: split folders by their usual names, and folders that are no classes, with the likely root."""

import re

import pytest

from datamodules.sources.folders import list_folder
from datamodules.sources.listing import look_alikes, split_of
from settings.errors import UserError


def place(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(*splits):
    return [f"{split}/{name}/1.png" for split in splits for name in ("cat", "dog")]


@pytest.mark.parametrize(
    ("split", "names"),
    {
        "train": ("train", "Training", "train_images", "train set", "TrainSet", "images-train", "train2017"),
        "val": ("val", "VALID", "validation", "Validation images", "dev", "val2017"),
        "test": ("test", "testing", "test_data", "Test Set", "testset"),
        None: ("trains", "invalid", "contest", "testimony", "tested", "1", "", "training camp", "evaluate"),
    }.items(),
)
def test_the_usual_names_of_splits(split, names):
    assert {name: split_of(name) for name in names} == dict.fromkeys(names, split)


@pytest.mark.parametrize("names", [("training", "testing"), ("Train Images", "Test Images"), ("train", "test_set")])
def test_folders_of_usual_names_are_splits(names, tmp_path):
    listing = list_folder(place(tmp_path, *pairs(*names)))
    assert listing.splits == ["train", "train", "test", "test"]
    assert set(listing.labels) == {"cat", "dog"}
    said = f"taken as splits: {names[0]} as train, {names[1]} as test"
    assert said in listing.notes


def test_a_plain_name_goes_before_another_for_the_same_split_and_two_of_a_rank_are_refused(tmp_path):
    listing = list_folder(place(tmp_path / "a", *pairs("train", "test", "test_images")))
    assert [key for key in listing.keys if key.startswith("test")] == ["test/cat/1.png", "test/dog/1.png"]
    assert ("test_images/", "folder beside train that is no split") in listing.left_out
    assert any("test_images/ holds the classes of train" in note for note in listing.notes)
    with pytest.raises(UserError, match="test_images and testing both mean test"):
        list_folder(place(tmp_path / "b", *pairs("train", "testing", "test_images")))


@pytest.mark.parametrize("names", [("bus", "car", "train"), ("valid", "invalid"), ("training", "match", "press")])
def test_classes_that_are_called_as_splits_stay_classes(names, tmp_path):
    listing = list_folder(place(tmp_path, *(f"{name}/{number}.png" for name in names for number in range(3))))
    assert set(listing.labels) == set(names) and set(listing.splits) == {""}


@pytest.mark.parametrize(
    ("files", "root"),
    [
        (pairs("photos/train", "photos/val"), "photos"),
        (pairs("raw/train", "processed/train"), "processed"),
        (pairs("a/b/Training", "a/b/Testing"), "a/b"),
        ([*pairs("photos/train", "photos/val"), "masks/x/1.png", "masks/y/2.png"], "photos"),
        (pairs("first", "second"), "first"),
    ],
)
def test_one_folder_too_high_is_refused_with_the_likely_root(files, root, tmp_path):
    place(tmp_path, *files)
    with pytest.raises(UserError) as wrong:
        list_folder(tmp_path)
    assert f"data.root={tmp_path / root}" in str(wrong.value)
    assert re.search(rf"data\.root={tmp_path / root}( |,|$)", str(wrong.value), re.MULTILINE)
    list_folder(tmp_path / root)


def test_the_same_folders_in_every_class_are_asked_about_and_label_from_answers(tmp_path):
    place(tmp_path / "a", *(f"{name}/{when}/1.png" for name in ("cat", "dog", "emu") for when in ("day", "night")))
    with pytest.raises(UserError, match=r"all hold the same folders \(day, night\)") as wrong:
        list_folder(tmp_path / "a")
    for expression in re.findall(r"label_from='(.*?)'", str(wrong.value)):
        assert set(list_folder(tmp_path / "a", expression).labels) == {"cat", "dog", "emu"}
    place(tmp_path / "b", *pairs("train/one", "train/two"))
    with pytest.raises(UserError, match="all hold the same folders") as wrong:
        list_folder(tmp_path / "b")
    found = [set(list_folder(tmp_path / "b", one).labels) for one in re.findall(r"from='(.*?)'", str(wrong.value))]
    assert found == [{"one", "two"}, {"cat", "dog"}]
    place(tmp_path / "c", *(f"{name}/{split}/1.png" for name in ("cat", "dog") for split in ("train", "test")))
    with pytest.raises(UserError, match="train/CLASS/FILE"):
        list_folder(tmp_path / "c")


def test_nested_folders_that_differ_are_part_of_their_class(tmp_path):
    place(tmp_path, "alice/2019/1.png", "alice/2020/1.png", "bob/2020/1.png", "bob/2021/1.png", "carl/1.png")
    assert set(list_folder(tmp_path).labels) == {"alice", "bob", "carl"}


def test_a_split_whose_files_are_all_left_out_is_refused_and_an_empty_one_is_said(tmp_path):
    place(tmp_path / "a", *pairs("train"), "val/cat/1.heic", "val/dog/2.heic")
    with pytest.raises(UserError, match=r"val holds no image in class folders: 2 \.heic"):
        list_folder(tmp_path / "a")
    place(tmp_path / "b", *pairs("train"))
    (tmp_path / "b" / "val").mkdir()
    assert "val/ holds no file, as if it were not there" in list_folder(tmp_path / "b").notes


def test_names_that_look_alike():
    assert look_alikes(["1", "x", "1.0", "X", "2", "t-shirt", "T Shirt", "01"]) == [
        ["1", "1.0", "01"],
        ["x", "X"],
        ["t-shirt", "T Shirt"],
    ]
    assert look_alikes(["c", "c++", "c#", "-1", "1", "cat", "cats", "nan"]) == []
