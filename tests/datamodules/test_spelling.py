"""Names that look the same are the same: Unicode's two forms, spellings of one path; near misses are named."""

import csv
import unicodedata

import pytest
from PIL import Image

from datamodules.csv_file import CsvFile
from datamodules.folder import Folder
from datamodules.scoring import map_classes
from datamodules.sources.named import find_images
from settings.errors import TooManyBadFiles, UserError
from settings.paths import as_on_disk

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


def place(root, *names):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), number % 256).save(root / name)
    return root


def table(path, *rows, head=("file", "label")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return path


def ready(kind, root, tmp_path, **own):
    data = kind(root=root, data_dir=tmp_path / "data", **own)
    data.prepare_data()
    data.configure(val_fraction=0.15)
    data.setup("fit")
    return data


def numbered(*folders, count=6):
    return [f"{folder}/{number}.png" for folder in folders for number in range(count)]


def test_a_class_is_one_in_both_forms_and_no_image_of_it_is_left_out(tmp_path):
    root = place(tmp_path / "x", *numbered(f"train/{COMPOSED}", "train/tea", f"val/{DECOMPOSED}", "val/tea"))
    data = ready(Folder, root, tmp_path)
    assert data.class_names == (COMPOSED, "tea")
    assert data.splits["val"].targets.bincount().tolist() == [6, 6]
    assert data.listing.left_out == []


def test_the_split_and_the_fingerprint_do_not_depend_on_the_form(tmp_path):
    found = []
    for form in (COMPOSED, DECOMPOSED):
        name = unicodedata.name(form[-1]).replace(" ", "")
        root = place(tmp_path / name, *numbered(f"{form} 1", "tea", count=30))
        data = ready(Folder, root, tmp_path)
        table = {unicodedata.normalize("NFC", key): split for key, _, split in data.split_table()}
        found.append((table, data.class_names, data.fingerprint()))
    assert found[0] == found[1]


def test_a_csv_finds_files_in_the_other_form_and_by_backslashes(tmp_path, capsys):
    place(tmp_path / "c", *numbered(DECOMPOSED, "tea"))
    rows = [(name.replace(DECOMPOSED, COMPOSED), name[:2]) for name in numbered(DECOMPOSED)]
    rows += [(name.replace("/", "\\"), "te") for name in numbered("tea")]
    data = ready(CsvFile, table(tmp_path / "c" / "a.csv", *rows), tmp_path)
    assert sum(len(source) for source in data.splits.values()) == 12
    assert "6 paths are written with backslashes" in capsys.readouterr().out


def test_labels_in_two_forms_are_one_class_and_those_that_look_alike_are_said(tmp_path, capsys):
    place(tmp_path, *numbered("x", count=12))
    labels = [COMPOSED, DECOMPOSED, "1", "1.0", "Tea", "tea"] * 2
    data = ready(CsvFile, table(tmp_path / "a.csv", *zip(numbered("x", count=12), labels, strict=True)), tmp_path)
    assert data.class_names == ("1", "1.0", COMPOSED, "Tea", "tea")
    assert "look alike, each a class of its own: '1' and '1.0'; 'Tea' and 'tea'" in capsys.readouterr().out


def test_a_file_under_several_spellings_is_one_image(tmp_path):
    place(tmp_path, *numbered("x", "y"))
    (tmp_path / "link").symlink_to(tmp_path / "x")
    spellings = ("{}", "./{}", "x/../{}", f"{tmp_path}/{{}}")
    rows = [(form.format(name), name[0]) for name in numbered("x", "y") for form in spellings]
    rows += [(name.replace("x/", "link/"), "x") for name in numbered("x")]
    data = ready(CsvFile, table(tmp_path / "a.csv", *rows), tmp_path)
    assert sorted(key for source in data.splits.values() for key in source.keys) == numbered("x", "y")
    assert len(data.listing.left_out) == 12 * 3 + 6
    with pytest.raises(UserError, match=r"line 3: \./x/0\.png stands in line 2 with another label or split, as x/0"):
        ready(CsvFile, table(tmp_path / "b.csv", ("x/0.png", "x"), ("./x/0.png", "y")), tmp_path)


def test_a_path_that_is_nearly_right_is_answered_with_the_right_one(tmp_path):
    place(tmp_path, *numbered("x", "y"))
    rows = [(name.replace(".png", ".PNG"), name[0]) for name in numbered("x", "y")]
    with pytest.raises(TooManyBadFiles, match=r"nearest: x/0\.PNG \(there is 0\.png\)"):
        ready(CsvFile, table(tmp_path / "a.csv", *rows), tmp_path)


def test_a_class_spelt_otherwise_in_a_split_is_refused_and_its_split_is_not_replaced(tmp_path):
    root = place(tmp_path / "x", *numbered("train/Cat", "train/Dog", "val/cat", "val/Dog"))
    with pytest.raises(UserError, match="val has the class 'cat' where train has 'Cat'"):
        ready(Folder, root, tmp_path)
    root = place(tmp_path / "y", *numbered("train/Cat", "train/Dog", "val/ape", "val/emu"))
    with pytest.raises(UserError, match=r"no image of val can be used, and no other takes its place: 12 class that"):
        ready(Folder, root, tmp_path)
    for name in numbered("z/val/Cat", "z/val/Dog", count=1):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("no picture")
    root = place(tmp_path / "z", *numbered("train/Cat", "train/Dog"))
    with pytest.raises(UserError, match="no image of val can be used"):
        ready(Folder, root, tmp_path)


def test_one_class_below_which_others_lie_is_refused_with_where_they_are(tmp_path):
    root = place(tmp_path / "a", *numbered("all/images/cat", "all/images/dog"))
    with pytest.raises(UserError, match=f"data.root={root}/all/images .it holds cat, dog"):
        ready(Folder, root, tmp_path)
    root = place(tmp_path / "b", *numbered("train/images/cat", "train/images/dog", "val/images/cat"))
    with pytest.raises(UserError, match="the folders below it look like the classes") as wrong:
        ready(Folder, root, tmp_path)
    expression = str(wrong.value).partition("label_from='")[2].rstrip("'")
    assert ready(Folder, root, tmp_path, label_from=expression).class_names == ("cat", "dog")


@pytest.mark.parametrize("groups", [1, 2])
def test_too_few_groups_for_the_splits_are_refused(groups, tmp_path):
    root = place(
        tmp_path / "x", *(f"{name}/p{group}_{n}.png" for name in "ab" for group in range(groups) for n in "xyz")
    )
    with pytest.raises(UserError, match=rf"data.group_by=p\(\[0-9\]\): groups in \d+ files: {groups} .*none is left"):
        ready(Folder, root, tmp_path, group_by="p([0-9])")
    place(root, *(f"{name}/p{group}_0.png" for name in "ab" for group in range(6)))
    data = ready(Folder, root, tmp_path, group_by="p([0-9])")
    assert set(data.splits) == {"train", "val", "test"}


def test_classes_of_one_image_are_trained_on(tmp_path):
    data = Folder(root=place(tmp_path / "x", "a/1.png", "b/1.png", "c/1.png"), data_dir=tmp_path / "data")
    data.prepare_data()
    assert data.sources()["train"].targets.tolist() == [0, 1, 2]


def test_paths_on_the_command_line_are_found_in_either_form(tmp_path):
    place(tmp_path / DECOMPOSED, f"{DECOMPOSED} 1.png", "tea.png")
    assert as_on_disk(tmp_path / COMPOSED) == tmp_path / DECOMPOSED
    assert as_on_disk(tmp_path / COMPOSED / "none") == tmp_path / COMPOSED / "none"
    found = find_images(str(tmp_path / COMPOSED / f"{COMPOSED} 1.png"))
    assert found.paths == [str(tmp_path / DECOMPOSED / f"{DECOMPOSED} 1.png")]
    rows = table(tmp_path / DECOMPOSED / "a.csv", (f"{COMPOSED} 1.png",), head=("file",))
    assert find_images(str(rows)).paths == found.paths


def test_a_net_knows_a_class_in_either_form():
    assert map_classes([COMPOSED, "tea"], ["tea", DECOMPOSED]) == [1, 0]
