import csv
import os

import pytest

from settings.whole_file import TableWriter, plain_cell, write_bytes, write_text, writing


def test_text_and_bytes_replace_what_was_there_and_leave_nothing_beside(tmp_path):
    path = tmp_path / "file"
    write_text(path, "a\nß\r\n")
    assert path.read_bytes() == b"a\n\xc3\x9f\r\n"
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff" and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_alone(tmp_path, failure):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(failure), writing(path) as fresh:
        fresh.write_text("half")
        raise failure
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]


def test_until_the_end_the_old_file_stands_and_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with writing(path) as one, writing(path, ending=".pt2") as other:
        one.write_text("one")
        other.write_text("other")
        assert path.read_text() == "old" and one.parent == other.parent == tmp_path
        assert one.suffix == ".tmp" and other.suffix == ".pt2"
    assert path.read_text() == "one" and [*tmp_path.iterdir()] == [path]


def test_a_hard_link_to_the_file_itself_is_removed(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with writing(path) as fresh:
        os.link(path, fresh)
    assert path.read_text() == "old" and [*tmp_path.iterdir()] == [path]


def test_to_disk_flushes_the_file_before_its_name(tmp_path, monkeypatch):
    path, there = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda handle: there.append(path.exists()))
    with writing(path, to_disk=True) as fresh:
        fresh.write_text("new")
    assert there == ([False, True] if os.name == "posix" else [False])


def test_cells_that_a_spreadsheet_would_execute_are_marked_and_numbers_are_not(tmp_path):
    texts = ["=HYPERLINK(1)", "+1+1", "-2+3|cmd", "@sum", "\t=1", "'=x", "''@x", "plain", "'quoted'", "", "'"]
    numbers = ["-1", "+2.5", "-1e-5", "0.5", -3, 0.25, None]
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        TableWriter(file).writerows([texts, numbers])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        found, kept = list(csv.reader(file))
    assert not [cell for cell in found if cell[:1] in tuple("=+-@\t\r")]
    assert [plain_cell(cell) for cell in found] == texts
    assert kept == ["-1", "+2.5", "-1e-5", "0.5", "-3", "0.25", ""]
