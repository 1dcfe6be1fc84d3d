"""W&B servers that refuse, swallow, reject or die: a run starts in time, ends well and has its whole record on disk."""

import csv
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.callbacks.test_wandb_logger import Offline

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["data=digits", "model=mlp", "data.per_class=16", "data.batch_size=32", "scheduler=constant", "test=false"]
SMALL += ["callbacks.report=null", "trainer.accelerator=cpu"]
KEY = "0123456789abcdef" * 2 + "01234567"
LATEST = 15.0  # seconds behind a run without a tracker
ALONE = 8.0  # seconds until the first step of that on an idle machine; on a busy one all takes longer
RUN = {
    **{"id": "UnVuOjE=", "displayName": "x", "config": "{}", "historyLineCount": 0},
    "project": {"id": "1", "name": "lightbox", "entity": {"name": "someone"}},
}


class Server(ThreadingHTTPServer):
    """As much of W&B's server as takes a run and its figures.

    Args:
        status: what it answers with; 0 answers nothing that it has to think of, -1 nothing at all.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.status = status
        self.taken: list[str] = []
        self.open: list[socket.socket] = []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that was killed: standard error is that of whichever test runs by then."""

    def die(self) -> None:
        """Close the door and every connection."""
        self.shutdown()
        self.server_close()
        for connection in self.open:
            connection.close()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.open.append(self.connection)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.taken.append(self.path)
        if self.server.status < 0 or (not self.server.status and self.command == "POST"):
            time.sleep(600)
            return
        asked = json.loads(body) if "graphql" in self.path else {}
        name = asked.get("variables", {}).get("name")
        data = {
            "UpsertBucket": {"upsertBucket": {"bucket": {**RUN, "name": name}, "inserted": True}},
            "CreateRunFiles": {"createRunFiles": {"runID": name, "uploadHeaders": [], "files": []}},
        }.get(asked.get("operationName", ""), {})
        text = json.dumps({"data": data} if asked else {}).encode()
        self.send_response(self.server.status or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST

    def log_message(self, *args: Any) -> None:
        """Nothing."""


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def training(tmp_path: Path, url: str, *words: str, key: str | None = KEY) -> Iterator[Any]:
    """A run of `python train.py`; gives the process, its run folder and the seconds until its first step."""
    places = {f"WANDB_{place}": str(tmp_path) for place in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR")}
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    own |= {**places, "HOME": str(tmp_path), "NETRC": str(tmp_path / ".netrc"), "WANDB_BASE_URL": url}
    own |= {"WANDB_API_KEY": key} if key else {}
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "train.py", *SMALL, f"paths.runs={tmp_path / 'runs'}", "name=x", *words],
        cwd=ROOT,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    folder = tmp_path / "runs" / "digits-mlp" / "x"
    try:
        while process.poll() is None and not (folder / "metrics.csv").is_file():
            time.sleep(0.05)
        yield process, folder, time.monotonic() - start
    finally:
        process.kill()
        process.communicate()  # closes its output


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds to the first row of a run without a tracker."""
    with training(tmp_path_factory.mktemp("usual"), "", "trainer.max_epochs=2", "logger=csv") as (process, _, seconds):
        assert process.wait(timeout=120) == 0
    return seconds


def assert_recorded(folder: Path, kind: str) -> None:
    """Each row of metrics.csv stands in the one record of wandb's."""
    (record,) = (folder / "wandb").glob(f"{kind}-*")
    found: dict[int, dict[str, float]] = {}
    for row in Offline(record).history:
        found.setdefault(row["trainer/global_step"], {}).update(row)
    with (folder / "metrics.csv").open(newline="") as file:
        rows = {int(row["step"]): row for row in csv.DictReader(file)}
    assert rows.keys() == found.keys()
    for step, row in rows.items():
        for name, text in row.items():
            assert name == "step" or not text or found[step][name] == float(text), (step, name)


@pytest.mark.parametrize("kind", ["refused", "black hole", "no key", "bad key", "does not think"])
def test_a_server_that_cannot_be_used_costs_seconds(kind: str, usual: float, tmp_path: Path) -> None:
    key, server, said = KEY, None, "did not answer within 4 s"
    url = f"http://127.0.0.1:{closed_port()}"
    hole = socket.create_server(("127.0.0.1", 0))
    if kind == "black hole":
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
    if kind == "no key":
        key, said = "", "there is no key"
    if kind in ("bad key", "does not think"):
        server = Server(401 if kind == "bad key" else 0)
        url, said = f"http://127.0.0.1:{server.server_port}", "401" if kind == "bad key" else "offline"
    with training(tmp_path, url, "trainer.max_epochs=2", "logger=wandb", key=key) as (process, folder, seconds):
        output, errors = process.communicate(timeout=120)
    if server:
        server.die()
    hole.close()
    print(f"{kind}: first step after {seconds:.1f} s, {seconds - usual:.1f} s later than usual")
    assert process.returncode == 0, errors
    assert seconds - usual < LATEST * max(1.0, usual / ALONE)
    warnings = [line for line in (output + errors).splitlines() if "wandb" in line]
    assert len(warnings) == 1 and said in warnings[0] and "wandb sync" in warnings[0], output + errors
    assert output.splitlines()[-1] == f"run: {folder}"
    assert_recorded(folder, "offline-run")


@pytest.mark.parametrize("kind", ["dies", "goes silent"])
def test_a_server_that_is_lost_in_mid_run_loses_nothing(kind: str, usual: float, tmp_path: Path) -> None:
    server = Server()
    words = ["trainer.max_epochs=60", "logger=wandb"]
    with training(tmp_path, f"http://127.0.0.1:{server.server_port}", *words) as (process, folder, seconds):
        assert process.poll() is None and server.taken, "it is tracked"
        if kind == "dies":
            server.die()
        else:
            server.status = -1
        steps = len((folder / "metrics.csv").read_text().splitlines())
        lost = time.monotonic()
        output, errors = process.communicate(timeout=180)
        print(f"{kind}: ended {time.monotonic() - lost:.1f} s after the loss, first step {seconds - usual:.1f} s late")
    assert process.returncode == 0, errors
    assert seconds - usual < LATEST * max(1.0, usual / ALONE)
    warnings = [line for line in (output + errors).splitlines() if "warning" in line]
    assert len(warnings) == 1 and "127.0.0.1 does not answer any more" in warnings[0], output + errors
    (record,) = (folder / "wandb").glob("run-*")
    assert warnings[0].endswith(f"wandb sync {record}")
    assert steps < len((folder / "metrics.csv").read_text().splitlines()) == 62, "most of it came after the loss"
    assert_recorded(folder, "run")
