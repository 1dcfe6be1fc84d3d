"""Archives: what they hold arrives, and a hostile one writes nothing outside its folder."""

import gzip
import io
import shutil
import struct
import tarfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from datamodules.folder import Folder
from datamodules.sources import archives
from datamodules.sources.archives import unpack, unpacked
from settings.errors import UserError


def tar(path, *members, kind="w:gz"):
    with tarfile.open(path, kind) as archive:
        for name, content, *link in members:
            member = tarfile.TarInfo(name)
            if link:
                member.type, member.linkname = link
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def packed(path, *members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content, *link in members:
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o120777 if link else 0o100644) << 16
            archive.writestr(member, content)
    return path


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


HOSTILE = {
    "above": ("../evil.txt", b"x"),
    "above, later": ("a/b/../../../evil.txt", b"x"),
    "absolute": ("/{outside}/evil.txt", b"x"),
    "backslash": ("..\\evil.txt", b"x"),
    "drive": ("C:\\evil.txt", b"x"),
    "link": ("door", b"", tarfile.SYMTYPE, ".."),
    "hard link": ("door", b"", tarfile.LNKTYPE, "../evil.txt"),
    "device": ("tty", b"", tarfile.CHRTYPE, ""),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_hostile_members_are_refused_before_anything_is_written(kind, name, tmp_path):
    path, *rest = HOSTILE[name]
    member = (path.format(outside=tmp_path), *rest)
    after = ("door/evil.txt", b"x")  # through the link
    if kind == "zip" and len(rest) > 1:
        member = (member[0], b"..", "link")
    archive = (tar if kind == "tar" else packed)(tmp_path / f"x.{kind}", ("good.txt", b"good"), member, after)
    with pytest.raises(UserError, match="is refused"):
        unpack(archive, tmp_path / "inner" / "target")
    assert everything(tmp_path) == [f"x.{kind}"]
    with pytest.raises(UserError, match="is refused"):
        unpacked(archive, tmp_path / "unpacked")
    assert everything(tmp_path) == [f"x.{kind}"]


def test_damaged_ones_and_bombs_are_refused_and_leave_nothing(tmp_path):
    good = packed(tmp_path / "good.zip", ("a/1.txt", b"one" * 99))
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:-30])
    tar(tmp_path / "whole.tgz", ("a/1.txt", b"one" * 9999))
    (tmp_path / "cut.tgz").write_bytes((tmp_path / "whole.tgz").read_bytes()[:60])
    (tmp_path / "text.tar").write_text("text")
    bomb = bytearray(good.read_bytes())
    place = bomb.index(b"PK\1\2") + 24  # size when unpacked, in the directory
    bomb[place : place + 4] = struct.pack("<I", 2**32 - 2)
    (tmp_path / "lies.zip").write_bytes(bomb)
    for name in ("cut.zip", "cut.tgz", "text.tar"):
        with pytest.raises(UserError, match="cannot be unpacked"):
            unpacked(tmp_path / name, tmp_path / "unpacked")
    assert not any((tmp_path / "unpacked").iterdir())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: type("usage", (), {"free": 2**31})())
        with pytest.raises(UserError, match=r"holds 4.3 GB, and 2.1 GB are free"):
            unpacked(tmp_path / "lies.zip", tmp_path / "unpacked", max_ratio=1e9)


@pytest.mark.parametrize("kind", ["photos.zip", "photos.tar", "photos.tar.gz"])
def test_a_folder_is_read_from_its_archive(kind, tmp_path):
    members = []
    for name in ("cat", "dog"):
        for number in range(12):
            file = io.BytesIO()
            Image.effect_noise((9, 9), 40 + number).save(file, "PNG")
            members.append((f"photos/{name}/{number}.png", file.getvalue()))
    path = tmp_path / kind
    made = (
        packed(path, *members)
        if kind.endswith("zip")
        else tar(path, *members, kind="w" if "gz" not in kind else "w:gz")
    )
    for _ in range(2):
        data = Folder(root=made, data_dir=tmp_path / "data")
        data.prepare_data()
        data.setup()
        assert data.class_names == ("cat", "dog")
        assert sum(map(len, data.splits.values())) == 24
    (folder,) = (tmp_path / "data" / "unpacked").iterdir()
    assert everything(folder) == sorted(name for name, _ in members)


AMBIGUOUS = {
    "a file, then a folder": (("a", b"x"), ("a/b", b"y")),
    "a folder, then a file": (("a/b", b"y"), ("a", b"x")),
    "a long name": (("a/" + "n" * 300, b"x"),),
    "a long path": (("/".join(["n" * 200] * 30), b"x"),),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_no_folder_can_hold_are_the_archives_fault(kind, name, tmp_path):
    archive = (tar if kind == "tar" else packed)(tmp_path / f"x.{kind}", ("good.txt", b"good"), *AMBIGUOUS[name])
    with pytest.raises(UserError, match="is refused"):
        unpacked(archive, tmp_path / "unpacked")
    assert everything(tmp_path) == [f"x.{kind}"]
    assert not any((tmp_path / "unpacked").iterdir())


@pytest.mark.parametrize("kind", ["bomb.zip", "bomb.tar.gz", "many.tar.gz"])
def test_a_bomb_is_refused_unless_the_limit_is_raised(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_ALLOWED", 1000)
    if kind.startswith("many"):  # empty files, 512 bytes of header each
        archive = tar(tmp_path / kind, *((f"a/{number}", b"") for number in range(3000)))
    elif kind.endswith("zip"):
        archive = tmp_path / kind
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a/b", bytes(10**6))
    else:
        archive = tar(tmp_path / kind, ("a/b", bytes(10**6)))
    with pytest.raises(UserError, match=r"unpacks to more than .* MB; data\.max_unpack_ratio=30"):
        unpacked(archive, tmp_path / "unpacked")
    assert not any((tmp_path / "unpacked").iterdir())
    folder = unpacked(archive, tmp_path / "unpacked", max_ratio=2000)
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) in (0, 10**6)


def test_a_header_that_would_fill_the_memory_is_refused(tmp_path):
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 2**30
    with gzip.open(tmp_path / "x.tar.gz", "wb") as file:
        file.write(head.tobuf(tarfile.GNU_FORMAT) + bytes(10**6))
    with pytest.raises(UserError, match="a header in it has"):
        unpacked(tmp_path / "x.tar.gz", tmp_path / "unpacked")


def test_processes_that_start_together_share_one_unpacking(tmp_path, monkeypatch):
    archive = packed(tmp_path / "x.zip", ("a/1.txt", b"one"))
    mark = unpacked(archive, tmp_path / "elsewhere").parent.name.rpartition("-")[2]
    below, count = tmp_path / "unpacked", []
    (below / f".unpacking-{mark}-left" / "whole").mkdir(parents=True)  # of a process that was killed
    plain = archives.unpack

    def slowly(*args, **kwargs):
        count.append(args)
        time.sleep(0.2)
        plain(*args, **kwargs)

    monkeypatch.setattr(archives, "unpack", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: unpacked(archive, below), range(4)))
    assert len(found) == 1 and len(count) == 1
    assert [path.name for path in below.iterdir()] == [f"x-{mark}"]


def test_a_folder_that_another_machine_put_there_first_is_taken(tmp_path, monkeypatch):
    archive = packed(tmp_path / "x.zip", ("a/1.txt", b"one"))
    plain = archives.unpack

    def beaten(file, target, **kwargs):
        plain(file, target, **kwargs)
        shutil.copytree(target, target.parents[1] / f"x-{target.parent.name.split('-')[1]}")

    monkeypatch.setattr(archives, "unpack", beaten)
    assert everything(unpacked(archive, tmp_path / "unpacked")) == ["1.txt"]


def test_names_of_a_zip_that_are_utf8_without_saying_so_are_read(tmp_path):
    name = "cafe\u0301/1.txt"
    content = bytearray(packed(tmp_path / "x.zip", (name, b"x"), ("tea/1.txt", b"x")).read_bytes())
    for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(mark) + flags + 1] &= ~8
    (tmp_path / "y.zip").write_bytes(content)
    assert name not in zipfile.ZipFile(tmp_path / "y.zip").namelist()
    assert everything(unpacked(tmp_path / "y.zip", tmp_path / "unpacked")) == [name, "tea/1.txt"]
