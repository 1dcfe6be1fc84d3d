"""Checkpoints and configurations made to run code, through every entry script: none runs, exit 2, file and reason."""

import json
import os
import pickle
import runpy
import shutil
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from train import train

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["data.per_class=4", "model=mlp", "callbacks=none", "trainer.max_epochs=1", "data.batch_size=20", "name=good"]


class Payload:
    """Unpickling it writes a file."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return exec, (f"open({self.marker!r}, 'w').write('pwned')",)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    train([*SMALL, f"paths.runs={runs}"])
    return runs / "digits-mlp" / "good"


@pytest.fixture
def marker(tmp_path):
    marker = tmp_path / "marker"
    yield marker
    assert not marker.exists(), "the payload ran"


def changed(stored, path, value):
    """A copy of the nested mapping with one more value in it."""
    key, *rest = path.split("/")
    return {**stored, key: changed(stored[key], "/".join(rest), value) if rest else value}


HOSTILE = {
    "alone": lambda stored, evil: evil,
    "in the weights": lambda stored, evil: changed(stored, "state_dict/net.evil", evil),
    "deep in a list": lambda stored, evil: {**stored, "loops": [{"a": [({"b": evil},)]}]},
    "in an array of objects": lambda stored, evil: {**stored, "best": np.array([1, evil], dtype=object)},
    "as a key": lambda stored, evil: {**stored, ("a", evil): 1},
    "as an instantiator": lambda stored, evil: {**stored, "hyper_parameters": {"_instantiator": evil, "x": 1}},
}


def hostile_file(kind, good, marker, target):
    """Write one hostile checkpoint to `target`."""
    stored, evil = torch.load(good / "checkpoints" / "best.ckpt", weights_only=True), Payload(marker)
    if kind in HOSTILE:
        torch.save(HOSTILE[kind](stored, evil), target)
    elif kind == "a bare pickle":
        target.write_bytes(pickle.dumps({**stored, "evil": evil}))
    elif kind == "the format before zip":
        torch.save({**stored, "evil": evil}, target, _use_new_zipfile_serialization=False)
    elif kind == "a link elsewhere":
        elsewhere = target.with_suffix(".elsewhere")
        torch.save({**stored, "evil": evil}, elsewhere)
        target.symlink_to(elsewhere)
    elif kind == "a link to a text":
        target.symlink_to("/etc/passwd")
    elif kind == "a loop of links":
        target.symlink_to(target)
    elif kind == "distributed metadata":
        target.mkdir()
        (target / ".metadata").write_bytes(pickle.dumps(evil))
        (target / "__0_0.distcp").write_bytes(pickle.dumps(evil))


KINDS = [*HOSTILE, "a bare pickle", "the format before zip", "a link elsewhere", "a link to a text", "a loop of links"]
KINDS += ["distributed metadata"]


STARTS_ANEW = {"a loop of links": 0, "distributed metadata": 4}
"""No file to go on from: `resume=auto` starts the run, which replaces a link, and cannot replace a folder."""


def entry(script, *words):
    """Run an entry script as the command line does, in this process; its exit code."""
    argv, folder = sys.argv, Path.cwd()
    sys.argv = [str(ROOT / f"{script}.py"), *words]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as stop:
        return stop.code
    finally:
        sys.argv = argv
        os.chdir(folder)
    raise AssertionError("an entry script ends with its exit code")


def commands(file, folder, tmp_path):
    """Every way of an entry script to a checkpoint: the file itself, and a run folder that holds it."""
    runs = f"paths.runs={tmp_path / 'new runs'}"
    found = {
        "train resume=FILE": ("train", f"resume={file}", runs),
        "train resume=FOLDER": ("train", f"resume={folder}", "trainer.max_epochs=3", "scheduler.restart=true"),
        "train weights": ("train", *SMALL, f"model.weights={file}", "transfer=full", runs),
        "explore": ("explore", "do=lr", *SMALL[:-1], f"model.weights={file}", "transfer=full", runs),
        "evaluate": ("evaluate", f"run={file}"),
        "evaluate folder": ("evaluate", f"run={folder}"),
        "predict": ("predict", f"run={file}", f"images={tmp_path}"),
        "predict folder": ("predict", f"run={folder}", f"images={tmp_path}"),
        "explain": ("explain", f"run={file}"),
        "train resume=auto": (
            *("train", *SMALL[:-1], f"name={folder.name}", "resume=auto", f"paths.runs={folder.parents[1]}"),
            *("trainer.max_epochs=3", "scheduler.restart=true"),
        ),
    }
    return {name: words for name, words in found.items() if is_there(words[0])}


def is_there(script):
    """Not every fork keeps every script."""
    return (ROOT / f"{script}.py").is_file()


def mostly_slow(cases, quick):
    """The default suite runs a few of the cases, .ci/run all."""
    return [pytest.param(one, marks=[] if one in quick else [pytest.mark.slow]) for one in cases]


@pytest.mark.parametrize("kind", mostly_slow(KINDS, ("in the weights",)))
def test_no_payload_of_a_checkpoint_runs(kind, good, marker, tmp_path, capsys):
    folder = tmp_path / "runs" / "digits-mlp" / "evil"
    shutil.copytree(good, folder)
    file = tmp_path / "evil.ckpt"
    hostile_file(kind, good, marker, file)
    for name in ("best.ckpt", "last.ckpt", "previous.ckpt"):
        (folder / "checkpoints" / name).unlink(missing_ok=True)
        hostile_file(kind, good, marker, folder / "checkpoints" / name)
    for name, words in commands(file, folder, tmp_path).items():
        code, said = entry(*words), capsys.readouterr().err
        if name == "train resume=auto" and kind in STARTS_ANEW:
            assert code == STARTS_ANEW[kind] and "Traceback" not in said and not marker.exists(), said
            continue
        assert code == 2, (name, said)
        assert "Traceback" not in said and 1 <= len(said.splitlines()) <= 12, (name, said)
        assert "evil" in said or "/etc/passwd" in said, (name, said)
        assert not marker.exists(), name
    if is_there("compare"):
        assert entry("compare", f"paths.runs={tmp_path / 'runs'}") == 0, "it opens no checkpoint"
    assert not (tmp_path / "new runs").exists()


TARGETS = (
    *("os.system", "builtins.exec", "torch.load", "numpy.load", "joblib.load", "torch.hub.load", "subprocess.Popen"),
    *("datamodules.digits.torch.load", "datamodules..os.system", "datamodules.digits.Path.home", "callbacks.os.system"),
    *("yaml.unsafe_load", "timm.create_model", "importlib.import_module", "__import__", "os:system", "../evil.Evil"),
    *("datamodules.evil_module.Evil", "callbacks.evil_module.Evil"),
)


@pytest.mark.parametrize("target", mostly_slow(TARGETS, ("os.system",)))
def test_hostile_targets_are_refused_before_anything_is_imported(target, good, tmp_path, capsys):
    """On the command line, in a stored configuration that is resumed, and in a checkpoint's own."""
    folder = tmp_path / "runs" / "digits-mlp" / "evil"
    shutil.copytree(good, folder)
    stored = torch.load(good / "checkpoints" / "best.ckpt", weights_only=True)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    loaded = set(sys.modules)
    for path in ("data/_target_", "callbacks/mine"):
        value = {"_target_": target, "command": "touch pwned"} if path.endswith("mine") else target
        if (path, target.partition(".")[0]) in (("data/_target_", "callbacks"), ("callbacks/mine", "datamodules")):
            continue
        evil = changed(config, path, value)
        (folder / "config.yaml").write_text(yaml.safe_dump(evil))
        torch.save(changed(stored, "lightbox/config", evil), tmp_path / "evil.ckpt")
        key = path.replace("/", ".") + ("._target_" if path.endswith("mine") else "")
        for words in (
            ("train", f"{key}={target}", f"paths.runs={tmp_path / 'new'}"),
            ("train", f"resume={folder}", "trainer.max_epochs=3", "scheduler.restart=true"),
            ("evaluate", f"run={tmp_path / 'evil.ckpt'}"),
        ):
            if not is_there(words[0]):
                continue
            code, said = entry(*words), capsys.readouterr().err
            assert code == 2 and "Traceback" not in said, (words, said)
            assert "_target_" in said or "callbacks.mine" in said, (words, said)
    fresh = {
        name for name in set(sys.modules) - loaded if name.partition(".")[0] in ("joblib", "evil_module", "antigravity")
    }
    assert not fresh and not (tmp_path / "new").exists()


NETS = {
    "a name of the hub": {"source": "timm", "name": "hf-hub:evil/net"},
    "a folder of the disk": {"source": "timm", "name": "local-dir:/"},
    "a path": {"source": "own", "name": "../../evil"},
    "another file to load": {"source": "timm", "name": "resnet10t", "arguments": {"checkpoint_path": "EVIL"}},
    "weights of its own": {
        "source": "timm",
        "name": "resnet10t",
        "arguments": {"pretrained_cfg_overlay": {"file": "EVIL"}, "pretrained": True},
    },
    "no such argument": {"source": "own", "name": "mlp", "arguments": {"__class__": "os.system"}},
    "not a mapping": 5,
}


@pytest.mark.parametrize("kind", mostly_slow(NETS, ("not a mapping",)))
def test_a_hostile_description_of_the_net_is_refused(kind, good, marker, tmp_path, capsys):
    file, evil = tmp_path / "evil.ckpt", tmp_path / "payload.pth"
    torch.save({"state_dict": Payload(marker)}, evil)
    stored = torch.load(good / "checkpoints" / "best.ckpt", weights_only=True)
    model = json.loads(json.dumps(NETS[kind]).replace("EVIL", str(evil)))
    model = {**stored["lightbox"]["model"], "arguments": {}, **model} if isinstance(model, dict) else model
    torch.save(changed(stored, "lightbox/model", model), file)
    for script, more in (("predict", [f"images={tmp_path}"]), ("evaluate", [])):
        if not is_there(script):
            continue
        code, said = entry(script, f"run={file}", *more), capsys.readouterr().err
        assert code == 2 and "Traceback" not in said and len(said.splitlines()) <= 12, said


def test_no_address_is_fetched(good, tmp_path, capsys):
    server = socket.create_server(("127.0.0.1", 0))
    asked = []

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            asked.append(connection.recv(200))
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    address = f"http://127.0.0.1:{server.getsockname()[1]}/evil.ckpt"
    for words in (
        ("train", f"resume={address}"),
        ("train", *SMALL, f"model.weights={address}", "transfer=full", f"paths.runs={tmp_path / 'new'}"),
        ("train", "data=folder", f"data.root={address}"),
        ("evaluate", f"run={address}"),
        ("predict", f"run={address}", f"images={tmp_path}"),
        ("predict", f"run={good}", f"images={address}"),
        ("compare", address),
        ("explain", f"run={address}"),
    ):
        if is_there(words[0]):
            code, said = entry(*words), capsys.readouterr().err
            assert code == 2 and "127.0.0.1" in said and "Traceback" not in said, (words, said)
    server.close()
    assert asked == [] and not (tmp_path / "new").exists()
