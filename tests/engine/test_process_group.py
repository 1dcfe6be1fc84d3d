"""Decisions and failures of several processes, here two threads that meet in a real store."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.distributed import TCPStore

from callbacks.signals import Stopped
from engine.launcher import settle_devices
from engine.process_group import LINGER, Members, ProcessFailed, connect
from settings.errors import UserError
from settings.reading.compose import compose
from settings.world import World


@pytest.fixture
def pair():
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, multi_tenant=True)
    worlds = [
        World(
            launcher="this run",
            rank=rank,
            size=2,
            local_rank=rank,
            local_size=2,
            node=0,
            nodes=1,
            address="127.0.0.1",
            port=server.port,
        )
        for rank in (0, 1)
    ]
    with ThreadPoolExecutor(2) as pool:
        yield list(pool.map(lambda world: connect(world, run=0, timeout=5), worlds))


def both(pair, work):
    with ThreadPoolExecutor(2) as pool:
        return [one.result(timeout=20) for one in [pool.submit(work, member) for member in pair]]


def test_process_0_decides_for_all(pair):
    assert both(pair, lambda member: member.decided(lambda: ["a", member.rank])) == [["a", 0]] * 2
    assert Members().decided(lambda: 3) == 3


def test_one_process_of_a_machine_goes_first(pair):
    done, first = [], threading.Event()

    def work(member):
        with member.one_first():
            first.wait(0.3)
            done.append(member.rank)

    both(pair, work)
    assert done == [0, 1]


def test_different_data_is_refused_where_it_differs(pair):
    def work(member):
        try:
            member.same("the data", f"print {member.rank}")
        except UserError as error:
            return str(error)

    assert both(pair, work) == [None, "the data differs between machines: print 0 in process 0, print 1 in process 1"]


def test_the_first_failure_is_the_cause_and_ends_all_waiting(pair):
    error = pair[1].cause(UserError("no such file"))
    assert isinstance(error, UserError) and pair[1].cause(error) is error
    with pytest.raises(ProcessFailed, match="process 1 of 2 failed: no such file") as found:
        pair[0].decided(lambda: 1)
        pair[0].leave()
    assert (found.value.exit_code, found.value.told) == (2, True)
    assert "In process 1" in found.value.__notes__[0]
    lost = pair[0].cause(RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"))
    assert str(lost) == "process 1 of 2 failed: no such file"


@pytest.mark.parametrize(
    "said",
    ["[gloo/transport/tcp/unbound_buffer.cc] Timed out waiting 5000ms", "Application timeout caused pair closure"],
)
def test_silence_is_a_timeout_and_a_closed_connection_a_loss(pair, said):
    slow = pair[0].cause(RuntimeError(said))
    assert slow.exit_code == 124 and "did not answer for 5 s" in str(slow)
    assert pair[1].cause(RuntimeError("boom")).exit_code == 124, "the first one counts"


def test_one_that_was_killed_is_spoken_for(pair):
    pair[0].say_for(1, "ended by SIGKILL", 1)
    lost = pair[0].cause(RuntimeError("gloo: Connection closed by peer"))
    assert (str(lost), lost.told) == ("process 1 of 2 failed: ended by SIGKILL", False)


def test_an_agreed_stop_is_no_failure(pair):
    stop = Stopped(15, agreed=True)
    assert pair[0].cause(stop) is stop
    both(pair, lambda member: member.leave())
    pair[0].say_for(1, "ended with exit code 143", 143)
    assert pair[0].cause(RuntimeError("mine")).args == ("mine",), "nothing was told"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("trainer.devices=[0,1]", "names GPUs"),
        ("trainer.sync_batchnorm=true", "for GPUs only"),
    ],
)
def test_what_a_cpu_cannot_do_is_said_before_anything_starts(typed, said):
    config = compose(["trainer.accelerator=cpu", "trainer.devices=2", typed])
    with pytest.raises(UserError, match=said):
        settle_devices(config)


@pytest.mark.parametrize("kind", ["gpu", "cuda", "mps", "tpu"])
def test_an_accelerator_that_is_not_there_is_said_with_those_that_are(kind, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    config = compose([f"trainer.accelerator={kind}"])
    with pytest.raises(UserError, match=rf"trainer.accelerator={kind}: there is none here; this machine has cpu, and"):
        settle_devices(config)


def test_all_devices_of_a_cpu_are_one_process():
    config = compose(["trainer.accelerator=cpu", "trainer.devices=auto"])
    settle_devices(config)
    assert config.trainer.devices == 1


def test_a_process_stays_a_moment_after_its_last_exchange(pair, monkeypatch):
    """All have been told that it is done before it waits; process 0 waits for the others instead."""
    lingered, rank_of, sleep = [], {}, time.sleep

    def noted(seconds: float) -> None:
        if seconds == LINGER:
            rank = rank_of[threading.get_ident()]
            lingered.append((rank, pair[0]._watching.check([f"gone-{rank}"])))
        else:
            sleep(seconds)

    def work(member):
        rank_of[threading.get_ident()] = member.rank
        member.leave()
        return member._watching.check(["gone-1"])

    monkeypatch.setattr(time, "sleep", noted)
    assert both(pair, work)[0], "process 0 has waited"
    assert lingered == [(1, True)] and LINGER >= 0.1
