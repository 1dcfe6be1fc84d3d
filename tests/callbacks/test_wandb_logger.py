import json
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from lightning import LightningModule, Trainer
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from callbacks.learning_rate import LearningRateMonitor
from callbacks.loggers import wandb_logger as tracking
from callbacks.loggers.reachable import reachable
from callbacks.loggers.wandb_logger import CheckpointArtifacts, finish, log_confusion, wandb_logger
from engine.run_folder import RunRecord
from reports.figures import record_figure
from train import train

SOMEONES_KEY = "0123456789abcdef" * 2 + "01234567"
VARIABLES = ("MODE", "API_KEY", "BASE_URL", "IDENTITY_TOKEN_FILE", "PROJECT", "ENTITY", "RUN_ID")


class Offline:
    """What the transaction log of an offline run holds: LevelDB's log format with protocol-buffer records."""

    def __init__(self, folder):
        import wandb
        from wandb.proto import wandb_internal_pb2

        wandb.teardown()  # its service may still be writing

        (path,) = Path(folder).glob("run-*.wandb")
        records = [wandb_internal_pb2.Record.FromString(record) for record in self._records(path.read_bytes())]
        self.runs = [record.run for record in records if record.HasField("run")]
        self.config = {item.key: json.loads(item.value_json) for run in self.runs for item in run.config.update}
        self.history = [
            {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            for record in records
            if record.HasField("history")
        ]
        requests = [record.request for record in records if record.HasField("request")]
        self.artifacts = [record.artifact for record in records if record.HasField("artifact")]
        self.artifacts += [request.log_artifact.artifact for request in requests if request.HasField("log_artifact")]

    @staticmethod
    def _records(data):
        """Records of the file: 7 bytes of header, then blocks of 32 KB that no fragment crosses."""
        assert data[:4] == b":W&B"
        at, parts = 7, []
        while at + 7 <= len(data):
            if (left := 32768 - at % 32768) < 7:
                at += left
                continue
            length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
            parts.append(data[at + 7 : at + 7 + length])
            at += 7 + length
            if kind in (1, 4):  # the whole record, or its last part
                yield b"".join(parts)
                parts = []


@pytest.fixture(autouse=True)
def contained(tmp_path, monkeypatch):
    """wandb keeps everything below tmp_path, and knows no account."""
    for variable in VARIABLES:
        monkeypatch.delenv(f"WANDB_{variable}", raising=False)
    for place in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR", "ARTIFACT_DIR"):
        folder = tmp_path / "wandb_places" / place.lower()
        folder.mkdir(parents=True)
        monkeypatch.setenv(f"WANDB_{place}", str(folder))
    for proxy in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.upper(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    (tmp_path / "home").mkdir()
    yield
    finish()
    import wandb

    wandb.teardown()  # the next test gets its own environment


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "runs" / "a run, with [brackets]"
    (folder / "checkpoints").mkdir(parents=True)
    return folder


def logger(run_folder, **changes):
    own = {"run_folder": run_folder, "run_id": "abc12345", "name": "first", "config": {"seed": 0}}
    return wandb_logger(**{**own, **changes})


def offline_folders(run_folder):
    return sorted((run_folder / "wandb").glob("offline-run-*"))


class Line(LightningModule):
    def __init__(self, folder):
        super().__init__()
        self.layer, self.folder, self.losses = torch.nn.Linear(2, 1), folder, []

    def training_step(self, batch, batch_idx):
        return self.layer(batch[0]).square().mean()

    def on_train_epoch_end(self):
        self.losses.append(1.0 / (1 + self.current_epoch))
        self.trainer.loggers[0].log_metrics({"val/loss": self.losses[-1]}, step=self.trainer.global_step)

    def on_train_end(self):
        for name in ("best", "last"):
            torch.save({"state_dict": self.state_dict(), "name": name}, self.folder / f"{name}.ckpt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.25)


def test_an_offline_run_holds_configuration_metrics_and_checkpoints(tmp_path, run_folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = {"seed": 3, "optimizer": {"name": "sgd", "lr": 0.25}, "augment": None, "data": {"root": "~/a b"}}
    tracker = logger(run_folder, project="lightbox-test", group="g", tags=["t1", "t2"], notes="n", config=config)
    trainer = Trainer(
        max_epochs=3,
        log_every_n_steps=1,
        accelerator="cpu",
        logger=[tracker],
        callbacks=[
            CheckpointArtifacts(folder=run_folder / "checkpoints"),
            LearningRateMonitor(every_n_steps=4),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    task = Line(run_folder / "checkpoints")
    trainer.fit(task, DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=2))
    finish()

    (folder,) = offline_folders(run_folder)
    found = Offline(folder)
    run = found.runs[0]
    assert (run.run_id, run.project, run.display_name) == ("abc12345", "lightbox-test", "first")
    assert (run.run_group, list(run.tags), run.notes) == ("g", ["t1", "t2"], "n")
    assert {key: found.config[key] for key in config} == config
    rates = [(row["trainer/global_step"], row["lr"]) for row in found.history if "lr" in row]
    assert rates == [(1, 0.25), (4, 0.25), (8, 0.25), (12, 0.25)]
    losses = [(row["trainer/global_step"], row["val/loss"]) for row in found.history if "val/loss" in row]
    assert losses == list(zip((4, 8, 12), task.losses, strict=True))
    assert [(one.type, one.name) for one in found.artifacts] == [("model", "checkpoints-abc12345")] * 2
    assert [set(one.aliases) for one in found.artifacts] == [{"best", "latest"}, {"last", "latest"}]
    for artifact, name in zip(found.artifacts, ("best.ckpt", "last.ckpt"), strict=True):
        (entry,) = artifact.manifest.contents
        original = (run_folder / "checkpoints" / name).read_bytes()
        assert entry.path == name and entry.size == len(original)
        assert Path(entry.local_path).read_bytes() == original
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize("images", [True, False])
def test_pictures_and_the_confusion_matrix_are_sent(run_folder, monkeypatch, images):
    monkeypatch.setenv("WANDB_MODE", "offline")
    record = RunRecord(run_folder, {"steps": 5})
    record.loggers = [logger(run_folder, images=images)]
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    path = record_figure(record, "line", figure)
    log_confusion(record.loggers, torch.tensor([[3, 1], [0, 2]]), ("cat, grey", "dog"), step=5)
    log_confusion(record.loggers, torch.zeros(101, 101), ["too many"] * 101, step=6)
    finish()

    (folder,) = offline_folders(run_folder)
    rows = {key: value for row in Offline(folder).history for key, value in row.items()}
    assert {key.rpartition("/")[0] for key in rows if "figures/" in key} == ({"figures/line"} if images else set())
    assert path.is_file()
    if images:
        (name,) = rows["figures/line/filenames"]
        with Image.open(folder / "files" / name) as back, Image.open(path) as drawn:
            assert back.convert("RGB").tobytes() == drawn.convert("RGB").tobytes()
    table = json.loads((folder / "files" / rows["test/confusion_matrix_table/path"]).read_text())
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    pairs = [["cat, grey", "cat, grey", 3], ["cat, grey", "dog", 1], ["dog", "cat, grey", 0], ["dog", "dog", 2]]
    assert table["data"] == pairs and rows["trainer/global_step"] == 5


def test_a_run_that_goes_on_keeps_its_id_and_sends_its_report(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    small = ["model.width=4", "data.per_class=16", "data.batch_size=32", "scheduler=constant", "logger=wandb"]
    train([*small, "trainer.max_epochs=1", "test=false", f"paths.runs={tmp_path / 'runs'}", "logger.group=g"])
    (folder,) = (tmp_path / "runs").glob("*/*")
    tracking_id = json.loads((folder / "summary.json").read_text())["tracking"]["id"]
    train([f"resume={folder}", f"paths.runs={tmp_path / 'runs'}", "trainer.max_epochs=2", "test=true"])
    assert json.loads((folder / "summary.json").read_text())["tracking"]["id"] == tracking_id

    first, second = (Offline(path) for path in offline_folders(folder))
    assert [run.runs[0].run_id for run in (first, second)] == [tracking_id] * 2
    assert [run.runs[0].run_group for run in (first, second)] == ["g"] * 2
    steps = [[row["trainer/global_step"] for row in run.history if "val/loss" in row] for run in (first, second)]
    assert steps == [[5], [10]], "each epoch once"
    keys = {key for row in second.history for key in row}
    shown = {f"figures/{name}/filenames" for name in ("confusion_matrix", "hardest", "loss", "learning_rate")}
    assert shown | {"test/confusion_matrix_table/path", "test/accuracy"} <= keys
    assert set(second.artifacts[0].aliases) == {"best", "latest"}


def test_a_second_run_in_one_process_is_a_run_of_its_own(run_folder, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for run_id, value in (("one", 1.0), ("two", 2.0)):
        logger(run_folder, run_id=run_id).log_metrics({"val/loss": value}, step=1)
    finish()
    found = [Offline(folder) for folder in offline_folders(run_folder)]
    assert {run.runs[0].run_id: run.history[0]["val/loss"] for run in found} == {"one": 1.0, "two": 2.0}


def test_without_a_key_it_is_offline_and_says_so_once(run_folder, capsys):
    tracker = logger(run_folder)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "offline" in line] == lines[:1]
    assert lines[0].startswith("wandb: offline, as there is no key (wandb login); upload later with: wandb sync")
    assert tracker.experiment.settings._offline and tracker.experiment.url is None
    finish()
    assert len(offline_folders(run_folder)) == 1


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_with_a_key_but_no_server_it_is_offline_within_seconds(run_folder, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", SOMEONES_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed_port()}")
    tracker = logger(run_folder)
    assert "wandb: offline, as 127.0.0.1 did not answer within 4 s" in capsys.readouterr().out
    assert tracker.experiment.settings._offline


def test_a_name_that_is_not_resolved_does_not_keep_the_run_waiting(monkeypatch):
    def look_up(*args, **kwargs):
        time.sleep(1)
        raise OSError("no such name")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    start = time.perf_counter()
    assert not reachable("https://tracker.example", patience=0.2)
    assert time.perf_counter() - start < 0.9


def test_a_server_or_the_proxy_before_it_is_found(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    assert reachable(f"http://127.0.0.1:{server.server_port}", patience=5), "a refusal is an answer"
    assert not reachable("http://tracker.invalid", patience=5)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    assert reachable("http://tracker.invalid", patience=5)
    server.shutdown()
    server.server_close()


def test_a_server_that_takes_connections_and_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as hole:
        start = time.perf_counter()
        assert not reachable(f"http://127.0.0.1:{hole.getsockname()[1]}", patience=0.3)
        assert time.perf_counter() - start < 3


@pytest.mark.parametrize(
    ("host", "found"), [("tracker.example", True), ("tracker.example:8080", False), ("other.example", False)]
)
def test_a_key_that_wandb_login_wrote_is_found(tmp_path, host, found):
    (tmp_path / "home" / ".netrc").write_text(f"machine {host}\n  login user\n  password {SOMEONES_KEY}\n")
    assert tracking._in_netrc("https://tracker.example") is found


class Refusal(BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, *args):
        pass


def test_a_server_that_refuses_leaves_the_run_offline(run_folder, capsys, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_API_KEY", SOMEONES_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    logger(run_folder).log_metrics({"val/loss": 0.5}, step=1)
    finish()
    server.shutdown()
    server.server_close()
    assert "wandb: offline, " in (said := capsys.readouterr().out) and "401" in said
    (folder,) = offline_folders(run_folder)
    assert Offline(folder).history[0]["val/loss"] == 0.5


def test_wandb_is_imported_only_where_it_is_used():
    code = "import sys, engine.trainer, callbacks.loggers.wandb_logger; sys.exit('wandb' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(tracking.__file__).parents[2], check=True)
