"""CSV files, natural order and the hash threshold."""

import pytest
import torch

from datamodules import splits
from datamodules.sources.folders import list_folder
from datamodules.sources.listing import natural
from datamodules.sources.packed import PackedStrings
from datamodules.sources.tables import list_csv
from settings.errors import UserError


def written(tmp_path, text, name="a.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_numbers_in_names_count_as_numbers():
    assert sorted(["10", "2", "1", "b10", "B9", "a"], key=natural) == ["1", "2", "10", "a", "B9", "b10"]
    assert sorted(["²", "1"], key=natural) == ["1", "²"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_columns_are_known_by_their_names(separator, tmp_path):
    lines = [["Class", "extra", "filename", "split"], ["cat", "", "a b/1.png", "Train"], ["dog", "x", "2.png", "valid"]]
    text = "\ufeff" + "\r\n".join(separator.join(line) for line in lines)
    listing = list_csv(written(tmp_path, text))
    assert listing.keys == ["a b/1.png", "2.png"]
    assert listing.labels == ["cat", "dog"]
    assert listing.splits == ["train", "val"]


def test_without_a_header_the_columns_are_file_and_label(tmp_path):
    listing = list_csv(written(tmp_path, '"x, y.jpg",cat\nz.jpg,dog\n\n'))
    assert (listing.keys, listing.labels, listing.splits) == (["x, y.jpg", "z.jpg"], ["cat", "dog"], ["", ""])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,\n", "line 2: no label"),
        ("file,label\n\n,\nb.png\n", "line 4: no label"),
        ("file,label,split\na.png,x,trian\n", "line 2: split 'trian'; there is train, val and test"),
        ("file,label\na.png,x\na.png,y\n", "line 3: a.png stands in line 2 with another label"),
        ("name,kind\na.png,x\n", "line 1: no column file and no label among name, kind"),
        ("path,kind\na.png,x\n", "line 1: no column label among"),
        ("", "is empty"),
        ("file,label\n", "no line below the header"),
        ('file,label\na.png,"x\n', "line 2: unexpected end of data"),
    ],
)
def test_mistakes_in_a_csv_file_are_named_with_their_line(text, message, tmp_path):
    with pytest.raises(UserError, match=message.replace("(", "\\(")):
        list_csv(written(tmp_path, text))


def test_text_that_is_not_utf8_is_named_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("file,label\na.png,x\nb.png,Müll\n".encode("latin-1"))
    with pytest.raises(UserError, match="line 3: not UTF-8"):
        list_csv(path)


def test_twenty_bad_lines_make_a_short_message(tmp_path):
    with pytest.raises(UserError) as wrong:
        list_csv(written(tmp_path, "file,label\n" + "a.png,\n" * 20))
    assert len(wrong.value.messages) == 9
    assert wrong.value.messages[-1] == "... and 12 more lines"


def test_a_link_in_a_circle_is_walked_once(tmp_path):
    for name in "ab":
        (tmp_path / "x" / name).mkdir(parents=True)
        (tmp_path / "x" / name / "1.png").touch()
    (tmp_path / "x" / "a" / "loop").symlink_to(tmp_path / "x")
    assert sorted(list_folder(tmp_path / "x").keys) == ["a/1.png", "b/1.png"]


def test_a_link_to_itself_is_no_folder_and_stops_nothing(tmp_path):
    for place in (tmp_path, tmp_path / "cats"):
        place.mkdir(exist_ok=True)
        (place / "loop").symlink_to(place / "loop")
    (tmp_path / "cats" / "a.png").write_bytes(b"")
    listing = list_folder(tmp_path)
    assert listing.keys == ["cats/a.png"]
    assert sorted(name for name, _ in listing.left_out if "loop" in name) == ["cats/loop", "loop"]


def test_the_threshold_gives_the_shares_and_holds_when_files_come():
    keys = [f"{number}.png" for number in range(4000)]
    targets = torch.arange(4000) % 4
    shares = [("test", 0.15), ("val", 0.15)]
    whole = splits.threshold(keys, targets, shares, 0)
    assert whole.count("test") / 4000 == pytest.approx(0.15, abs=0.02)
    assert whole.count("val") / 4000 == pytest.approx(0.15, abs=0.02)
    assert splits.threshold(keys[:2000], targets[:2000], shares, 0) == whole[:2000]
    assert splits.threshold(keys, targets, shares, 1) != whole


def test_packed_strings_are_a_sequence_of_strings():
    words = ["a", "", "Ünï çödé", "b/c.png"]
    packed = PackedStrings.pack(words)
    assert list(packed) == words
    assert packed == words
    assert packed[-1] == "b/c.png"
    assert list(packed.take([2, 0])) == ["Ünï çödé", "a"]
    with pytest.raises(IndexError):
        packed[4]
