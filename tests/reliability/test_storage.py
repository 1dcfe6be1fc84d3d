"""Disks that are full, cut a write short or cannot be written: what was saved stays whole, exit 4, one clear line."""

import json
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from callbacks.checkpoint import AtomicCheckpointIO, is_whole
from models import load_run
from settings.commands.launch import launch
from train import run

SMALL = ["data.per_class=24", "data.batch_size=32", "model=cnn", "model.widths=[6,6]", "trainer.max_epochs=3"]
SMALL += ["callbacks=none", "optimizer=sgd", "optimizer.lr=0.01", "scheduler=constant", "test=false"]


def go(capsys, *overrides):
    capsys.readouterr()
    code = launch(run, [*SMALL, *overrides])
    return code, capsys.readouterr()


def damage(kind, content, weight):
    if kind == "truncated":
        return content[: len(content) // 2]
    if kind == "empty":
        return b""
    if kind == "random":
        return torch.randint(256, (len(content),), generator=torch.Generator().manual_seed(3)).byte().numpy().tobytes()
    place = content.index(weight.numpy().tobytes()) + 5  # a tensor's own bytes
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before_and_is_named(tmp_path, capsys):
    words = [f"paths.runs={tmp_path}", "name=cut"]
    assert go(capsys, *words)[0] == 0
    folder = tmp_path / "digits-cnn" / "cut"
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    whole = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for kind in ("truncated", "empty", "random", "one bit flipped"):
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        last = folder / "checkpoints" / "last.ckpt"
        last.write_bytes(damage(kind, last.read_bytes(), next(iter(whole.values()))))
        stale = [folder / "checkpoints" / name for name in ("last.ckpt.123.tmp", "best.ckpt.9.tmp")]
        for file in stale:
            file.write_bytes(b"half of it")
        code, said = go(capsys, *words, "resume=auto")
        assert code == 0 and f"damaged: {last}; going on from previous.ckpt" in said.out, kind
        assert not any(file.exists() for file in stale), "stale temporary files are swept"
        again = torch.load(last, weights_only=True)["state_dict"]
        assert all(torch.equal(again[key], whole[key]) for key in whole), "the last epoch, trained again to the bit"
    for name in ("last.ckpt", "previous.ckpt"):
        (folder / "checkpoints" / name).write_bytes(b"")
    code, said = go(capsys, *words, "resume=auto")
    assert code == 2 and "last.ckpt" in said.err and "previous.ckpt" in said.err


@pytest.fixture
def no_large_files():
    """The kernel refuses to write beyond so many bytes of a file, in the middle of the write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def assert_old_checkpoints_are_whole(folder):
    files = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert files and set(files) <= {"best.ckpt", "last.ckpt", "previous.ckpt"}, "no part of a file stays"
    for name in files:
        assert is_whole(folder / "checkpoints" / name)
        torch.load(folder / "checkpoints" / name, weights_only=True)
    load_run(folder)


def test_a_write_that_is_cut_short_leaves_the_old_checkpoints(tmp_path, capsys, monkeypatch, no_large_files):
    """As on a full disk: the third save of last.ckpt fails after 4 KiB."""
    saved = AtomicCheckpointIO.save_checkpoint
    names = []

    def save(self, checkpoint, path, storage_options=None):
        names.append(Path(path).name)
        if names.count("last.ckpt") == 3:
            no_large_files(4096)
        saved(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    words = [f"paths.runs={tmp_path}", "name=full"]
    code, said = go(capsys, *words)
    no_large_files(resource.RLIM_INFINITY)
    folder = tmp_path / "digits-cnn" / "full"
    assert code == 4 and len(said.err.splitlines()) == 1 and "last.ckpt: cannot be saved" in said.err
    assert_old_checkpoints_are_whole(folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["exit_code"]) == ("failed", 4) and "cannot be saved" in summary["reason"]
    monkeypatch.undo()
    assert go(capsys, *words, "resume=auto")[0] == 0, "once there is room, it goes on"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 400 KiB; without the right to mount one, the test above stands for this one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("when", [pytest.param("at once", marks=pytest.mark.slow), "later"])
def test_a_full_disk_ends_with_code_4_and_whole_checkpoints(small_disk, capsys, when):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(395_000 if when == "at once" else 340_000))
    code, said = go(capsys, f"paths.runs={small_disk}", "name=full", "callbacks.checkpoint.every_n_steps=1")
    assert code == 4 and len(said.err.splitlines()) == 1 and "No space left" in said.err
    folder = small_disk / "digits-cnn" / "full"
    kept = sorted((folder / "checkpoints").iterdir()) if (folder / "checkpoints").is_dir() else []
    assert all(path.suffix == ".ckpt" and is_whole(path) for path in kept)
    filler.unlink()
    assert go(capsys, f"paths.runs={small_disk}", "name=full", "resume=auto")[0] == 0


def test_folders_that_cannot_be_written_are_told_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "digits-cnn").write_text("")
    read_only = Path("/proc/sys")  # for root, too
    cases = {
        f"paths.runs={tmp_path / 'file'}": (2, 4),
        f"paths.runs={tmp_path}": (2, 4),
        f"paths.runs={tmp_path / 'file' / 'below'}": (2, 4),
        f"paths.runs={read_only / 'runs'}": (2, 4),
        f"paths.runs={tmp_path / ('x' * 300)}": (2, 4),
        f"name={'x' * 250}": (2,),
        f"resume={tmp_path / 'no such run'}": (2,),
        f"resume={tmp_path / 'file'}": (2,),
        f"model.weights={tmp_path / 'missing.pth'}": (2,),
    }
    for word, codes in cases.items():
        code, said = go(capsys, word)
        assert code in codes and len(said.err.splitlines()) == 1, (word, said.err)
        assert "Traceback" not in said.err and len(said.err) < 700


def test_a_run_folder_that_vanishes_or_turns_read_only_ends_with_code_4(tmp_path, capsys, monkeypatch):
    saved = AtomicCheckpointIO.save_checkpoint

    def save(self, checkpoint, path, storage_options=None):
        if Path(path).name == "last.ckpt":
            shutil.rmtree(Path(path).parents[1])
            Path(path).parents[1].write_text("a file where a folder should be")
        saved(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    code, said = go(capsys, f"paths.runs={tmp_path}", "name=gone")
    assert code == 4 and len(said.err.splitlines()) == 1 and "cannot be saved" in said.err


def test_a_run_folder_that_turns_read_only_leaves_the_old_checkpoints(tmp_path, capsys, monkeypatch):
    """For root, too: before the third save of last.ckpt a read-only view of the folder is mounted over it."""
    saved = AtomicCheckpointIO.save_checkpoint
    folder = tmp_path / "digits-cnn" / "ro"
    names = []

    def save(self, checkpoint, path, storage_options=None):
        names.append(Path(path).name)
        if names.count("last.ckpt") == 3:
            for words in (["--bind", folder, folder], ["-o", "remount,bind,ro", folder]):
                if subprocess.run(["mount", *words], capture_output=True).returncode:
                    pytest.skip("file systems cannot be mounted here")
        saved(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save)
    words = [f"paths.runs={tmp_path}", "name=ro"]
    try:
        code, said = go(capsys, *words)
        assert code == 4 and len(said.err.splitlines()) == 1 and "Read-only file system" in said.err
        assert_old_checkpoints_are_whole(folder)
    finally:
        subprocess.run(["umount", folder], capture_output=True)
    monkeypatch.undo()
    assert go(capsys, *words, "resume=auto")[0] == 0, "once it can be written, it goes on"


@pytest.mark.parametrize(
    "name", ["-a=b, [c] {d} #1 ~ é 漢 'b\"c $(touch pwned)", pytest.param("x" * 200, marks=pytest.mark.slow)]
)
def test_odd_and_long_names_are_taken(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / f"runs, 100 % [new] {'y' * 230}"
    code, said = go(capsys, f"paths.runs={runs}", f"name={name}", "trainer.max_epochs=1")
    folder = runs / "digits-cnn" / name
    assert code == 0 and said.out.splitlines()[-1] == f"run: {folder}"
    assert is_whole(folder / "checkpoints" / "last.ckpt") and not (tmp_path / "pwned").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ours", [True, False])
def test_a_kill_during_the_save_leaves_a_whole_file(tmp_path, monkeypatch, ours):
    """30 saves, each killed at another moment, temporary folder on another file system; and torch.save as a control."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    monkeypatch.setenv("TMPDIR", str(memory))
    generator = torch.Generator().manual_seed(1)
    checkpoint = {
        "global_step": 1,
        "state_dict": {f"w{i}": torch.randn(1 << 20, generator=generator) for i in range(8)},
    }
    target = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint, target)
    start = time.perf_counter()
    AtomicCheckpointIO().save_checkpoint(checkpoint, target)
    seconds = time.perf_counter() - start

    def save():
        if ours:
            AtomicCheckpointIO().save_checkpoint(checkpoint, target)
        else:
            torch.save(checkpoint, target)

    corrupt = left = 0
    for index in range(30):
        child = os.fork()
        if not child:
            while True:
                save()
        time.sleep(seconds * (0.2 + 2 * index / 30))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        corrupt += not is_whole(target)
        left += len(list(target.parent.glob("*.tmp")))
    assert corrupt == 0 if ours else corrupt > 0
    assert left > 0 or not ours, "some were killed in the middle of the write"


def test_lightnings_own_plugin_is_not_used():
    assert AtomicCheckpointIO.save_checkpoint is not TorchCheckpointIO.save_checkpoint
