"""Two machines: network namespaces with addresses of their own, torchrun in each, one run over gloo."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.reliability.test_kill_and_resume import differences, final_state
from tests.reliability.test_process_failures import SMALL

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 8  # trainer.process_timeout
ENDED = 200  # seconds, on a busy machine; the last process goes about 30 after the time-out


class Hosts:
    """Two namespaces, joined by a cable: the ends of a veth pair."""

    def __init__(self) -> None:
        self.names = [f"lightbox-{os.getpid()}-{number}" for number in (0, 1)]
        self.addresses = ["10.213.71.1", "10.213.71.2"]
        self._links = [f"lb{os.getpid()}{end}" for end in "ab"]

    def build(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        ip("link", "add", self._links[0], "type", "veth", "peer", "name", self._links[1])
        for name, link, address in zip(self.names, self._links, self.addresses, strict=True):
            ip("link", "set", link, "netns", name)
            ip("-n", name, "addr", "add", f"{address}/24", "dev", link)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", link, "up")

    def plug(self, *, in_: bool) -> None:
        """The cable of the second machine."""
        ip("-n", self.names[1], "link", "set", self._links[1], "up" if in_ else "down")

    def remove(self) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)

    def start(self, folder: Path, *words: str) -> list[subprocess.Popen[str]]:
        """The same line of torchrun on both."""
        launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-port=29517"]
        return [
            subprocess.Popen(
                [
                    *("ip", "netns", "exec", name, sys.executable, *launcher, f"--node-rank={rank}"),
                    *(f"--master-addr={self.addresses[0]}", "train.py", *SMALL, "name=a", "resume=auto"),
                    *(f"paths.runs={folder}", *words),
                ],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank, name in enumerate(self.names)
        ]


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr)


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Skipped where a network cannot be made."""
    found = Hosts()
    try:
        try:
            found.build()
        except OSError as error:
            pytest.skip(f"network namespaces cannot be made here: {error}")
        yield found
    finally:
        found.remove()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run in two processes of one machine."""
    folder = tmp_path_factory.mktemp("whole")
    words = [*SMALL, "name=a", f"paths.runs={folder}", "trainer.devices=2"]
    subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, check=True, capture_output=True, timeout=600)
    return one_run(folder)


def one_run(runs: Path) -> Path:
    (found,) = runs.glob("*/a")
    return found


def said(errors: str) -> list[str]:
    """Lines of ours among those of torchrun."""
    return [line for line in errors.splitlines() if line.startswith("process ")]


def test_a_run_on_two_hosts_ends_with_the_weights_of_one_host(hosts: Hosts, whole: Path, tmp_path: Path) -> None:
    pair = hosts.start(tmp_path)
    ends = [process.communicate(timeout=600) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ends
    assert ends[0][0].splitlines()[-1] == f"run: {one_run(tmp_path)}" and not ends[1][0]
    assert differences(final_state(one_run(tmp_path)), final_state(whole)) == []
    assert (one_run(tmp_path) / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_a_host_that_is_cut_off_ends_both_and_the_run_goes_on(hosts: Hosts, whole: Path, tmp_path: Path) -> None:
    words = [f"trainer.process_timeout={TIMEOUT}", "callbacks.checkpoint.every_n_steps=1"]
    pair = hosts.start(tmp_path, *words)
    until = time.monotonic() + 400
    while not list(tmp_path.glob("*/a/checkpoints/last.ckpt")):
        assert time.monotonic() < until and pair[0].poll() is None, pair[0].communicate()
        time.sleep(0.02)
    hosts.plug(in_=False)
    try:
        cut = time.monotonic()
        for process in pair:
            _, errors = process.communicate(timeout=ENDED + cut - time.monotonic())
            print(f"over {time.monotonic() - cut:.0f} s after the cut")
            assert process.returncode != 0
            (line,) = said(errors)
            assert "another process did not answer for" in line
    finally:
        for process in pair:
            process.kill()
        hosts.plug(in_=True)
    stopped = json.loads((one_run(tmp_path) / "summary.json").read_text())
    assert (stopped["status"], stopped["exit_code"]) == ("failed", 124)
    step = torch.load(one_run(tmp_path) / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < 40, "it was in mid-run"
    pair = hosts.start(tmp_path, *words)
    ends = [process.communicate(timeout=600) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], ends
    assert f"step {step}" in ends[0][0]
    assert differences(final_state(one_run(tmp_path)), final_state(whole)) == []


def test_an_interface_that_does_not_lead_to_the_others_is_named(
    hosts: Hosts, tmp_path: Path, monkeypatch: object
) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        pair = hosts.start(tmp_path)
    finally:
        del os.environ["GLOO_SOCKET_IFNAME"]
    ends = [process.communicate(timeout=600) for process in pair]
    assert all(process.returncode for process in pair)
    assert any("GLOO_SOCKET_IFNAME" in line for _, errors in ends for line in said(errors)), ends
