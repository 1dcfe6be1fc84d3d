"""Archives: what they hold arrives, and a hostile one writes nothing outside its folder."""

import io
import struct
import tarfile
import zipfile

import pytest
from PIL import Image

from datamodules.folder import Folder
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
            unpacked(tmp_path / "lies.zip", tmp_path / "unpacked")


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
