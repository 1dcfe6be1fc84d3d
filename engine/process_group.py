"""What the processes of one run say to each other outside of training: decisions of process 0, and failures.

They meet in torch's key-value store, which process 0 (or torchrun's agent) serves. All waiting is polling, so that a
failure anywhere ends it; a thread ends a process that does not come back from a wait of torch's own.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from torch.distributed import DistError, PrefixStore, Store, TCPStore

from callbacks.signals import Stopped
from settings.errors import UserError
from settings.world import World

POLL = 0.1
"""Seconds between two looks at the store."""
GRACE = 10.0
"""Seconds that a process has to end by itself once another has failed."""
LINGER = 0.5
"""Seconds that a process stays after its last exchange. gloo's threads let go of what they exchanged a little later
than the exchange ends, and need the interpreter for it: without one they abort the process (SIGABRT)."""
ANSWER = 5.0
"""Seconds that the store has to answer when a process fails: its machine may be cut off, and torch waits for ever."""
JOIN = 300.0
"""Seconds within which all processes have to be there."""
TIMED_OUT = 124
GLOO = ("gloo", "Connection closed by peer", "Connection reset by peer", "caused pair closure", "Timed out waiting")
"""What stands in the messages of gloo, which have no class of their own."""


class ProcessFailed(Exception):
    """Another process of the run failed; `exit_code` is its own.

    Args:
        message: one line.
        exit_code: what this process ends with.
        told: whether the message is on standard error already.
    """

    def __init__(self, message: str, *, exit_code: int, told: bool) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.told = told


class Members:
    """One process among those of its run; without a world, alone.

    Args:
        world: rank and size, None for a run in one process.
        store: where they meet, for this run alone.
        watching: the same over a connection of its own, as a wait blocks one.
        training: the same over one for torch's process group.
        timeout: seconds after which a silent process is given up.
    """

    def __init__(
        self,
        world: World | None = None,
        *,
        store: Store | None = None,
        watching: Store | None = None,
        training: Store | None = None,
        timeout: int = 0,
    ) -> None:
        self.world = world
        self.training = training
        self.timeout = timeout
        self.last_words: Callable[[ProcessFailed], None] = lambda error: None
        """What to do before this process is ended from outside its main thread."""
        self._store, self._watching = store, watching
        self._over = threading.Event()
        self._silence = 0
        self._own_failure: BaseException | None = None
        self._decisions = 0

    @property
    def rank(self) -> int:
        """0 for the one that decides and writes."""
        return self.world.rank if self.world else 0

    @property
    def size(self) -> int:
        """How many there are."""
        return self.world.size if self.world else 1

    def decided(self, decide: Callable[[], Any]) -> Any:
        """What `decide` returns in process 0, in all of them: None, text, numbers, or lists of them."""
        if self._store is None:
            return decide()
        self._decisions += 1
        key = f"decision-{self._decisions}"
        if self.rank == 0:
            value = decide()
            self._store.set(key, json.dumps(value))
            return value
        self._await(key)
        return json.loads(self._store.get(key))

    @contextlib.contextmanager
    def one_first(self) -> Iterator[None]:
        """Let one process of each machine do it before the others: they find what it downloaded or wrote."""
        if self.world is None or self._store is None:
            yield
            return
        self._decisions += 1
        key = f"first-{self._decisions}-{self.world.node}"
        if self.world.local_rank:
            self._await(key)
        yield
        if not self.world.local_rank:
            self._store.set(key, "done")

    def same(self, what: str, value: str) -> None:
        """Make sure that all processes see the same.

        Raises:
            UserError: this process does not see what process 0 does.
        """
        first = self.decided(lambda: value)
        if first != value:
            raise UserError(f"{what} differs between machines: {first} in process 0, {value} in process {self.rank}")

    def join(self) -> None:
        """Wait until all are there.

        Raises:
            UserError: some did not come.
        """
        if self._store is None:
            return
        self._store.set(f"here-{self.rank}", "yes")
        until = time.monotonic() + JOIN
        for rank in range(self.size):
            while not self._has(f"here-{rank}"):
                if time.monotonic() > until:
                    there = sum(self._store.check([f"here-{one}"]) for one in range(self.size))
                    raise UserError(
                        f"{there} of {self.size} processes came within {JOIN:g} s: each has to be started "
                        "(under SLURM with srun), and to reach MASTER_ADDR"
                    )

    def leave(self) -> None:
        """Wait for the others at the run's end: process 0 may serve the store."""
        if self._store is not None:
            self._store.set(f"gone-{self.rank}", "yes")
            for rank in range(self.size) if self.rank == 0 else ():
                self._await(f"gone-{rank}")
            if self.rank:
                time.sleep(LINGER)  # process 0 has waited for the others already

    def cause(self, error: BaseException) -> BaseException:
        """Why the run really fails, of all that its processes met: the first failure of any of them.

        Tells the others, if it is this one's.
        """
        known = isinstance(error, ProcessFailed) or (isinstance(error, Stopped) and error.agreed)
        if self._store is None or known or error is self._own_failure:
            return error
        mine = self._no_answer(error) if lost_contact(error) else error
        note = json.dumps(
            {
                "rank": self.rank,
                "code": _exit_code(mine),
                "message": str(mine) or type(mine).__name__,
                "traceback": "".join(traceback.format_exception(error)),
            }
        )
        found: list[str] = []
        asking = threading.Thread(target=lambda: found.append(self._first(note, mine is not error)), daemon=True)
        asking.start()
        asking.join(timeout=ANSWER)
        if found and found[0] != note:
            return self._failed(found[0])
        self._own_failure = mine
        return mine

    def _first(self, note: str, lost: bool) -> str:
        """The note of the first failure of any process, which may be this one's."""
        assert self._store is not None
        try:
            # One that fails says so before it goes, one that is killed does not.
            until = time.monotonic() + 2.0
            while lost and not self._store.check(["failure"]) and time.monotonic() < until:
                time.sleep(POLL)
            return self._store.compare_set("failure", "", note).decode()
        except RuntimeError:
            return note

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """End this process if another fails and this one does not notice: it may hang."""
        watch = threading.Thread(target=self._watch, daemon=True, name="failures of other processes")
        if self._store is not None:
            watch.start()
            threading.Thread(target=self._time, daemon=True, name="time since the last word of process 0").start()
        try:
            yield
        finally:
            self._over.set()
            if self._store is not None:
                watch.join(timeout=GRACE)  # a thread inside of the store when Python ends would abort the process

    def say_for(self, rank: int, message: str, code: int) -> None:
        """Tell the failure of a process that could not tell it itself."""
        if self._watching is None or self._over.is_set():
            return
        note = {"rank": rank, "code": code, "message": message, "traceback": ""}
        with contextlib.suppress(RuntimeError):
            if self._watching.check([f"gone-{rank}"]):  # it ended as all did, by a signal
                return
            self._watching.compare_set("failure", "", json.dumps(note))

    def end_now(self, error: ProcessFailed) -> None:
        """End this process without its main thread."""
        self.last_words(error)
        if not error.told:
            print(error, file=sys.stderr, flush=True)
        os._exit(error.exit_code)

    def _watch(self) -> None:
        assert self._watching is not None
        error = None
        while error is None:
            if self._over.wait(0.5):
                return
            try:
                self._silence = 0
                if self._watching.check(["failure"]):
                    error = self._failed(self._watching.get("failure").decode())
            except RuntimeError as lost:
                error = self._no_answer(lost)
        if not self._over.wait(GRACE):
            self.end_now(error)

    def _time(self) -> None:
        """End this process where the store has not answered for long: not even the watch comes back from that."""
        while not self._over.wait(1.0):
            self._silence += 1  # counted, not measured: a job that was suspended goes on
            if self._silence > self.timeout + 2 * GRACE:
                self.end_now(self._no_answer(TimeoutError("timed out")))

    def _has(self, key: str) -> bool:
        """Whether the key is there; waits a little where it is not."""
        assert self._store is not None
        if self._store.check([key]):
            return True
        if self._store.check(["failure"]):
            raise self._failed(self._store.get("failure").decode())
        time.sleep(POLL)
        return False

    def _await(self, key: str) -> None:
        while not self._has(key):
            pass

    def _failed(self, note: str) -> ProcessFailed:
        found = json.loads(note)
        # Process 0 speaks for those that were killed.
        told = found["rank"] != self.rank and (bool(found["traceback"]) or self.rank != 0)
        error = ProcessFailed(
            f"process {found['rank']} of {self.size} failed: {found['message']}", exit_code=found["code"], told=told
        )
        if found["traceback"]:
            error.add_note(f"In process {found['rank']}:\n{found['traceback']}")
        return error

    def _no_answer(self, error: BaseException) -> ProcessFailed:
        text = str(error).lower()
        if "connectfullmesh" in text:
            return ProcessFailed(
                f"process {self.rank} of {self.size} cannot reach another one: {str(error).splitlines()[0][-150:]} "
                "(GLOO_SOCKET_IFNAME, NCCL_SOCKET_IFNAME: the network interface to use)",
                exit_code=2,
                told=False,
            )
        if "timed out" in text or "timeout" in text:
            return ProcessFailed(
                f"process {self.rank} of {self.size}: another process did not answer for {self.timeout} s "
                "(trainer.process_timeout)",
                exit_code=TIMED_OUT,
                told=False,
            )
        return ProcessFailed(
            f"process {self.rank} of {self.size}: another process is gone without a word (killed, or its machine is)",
            exit_code=1,
            told=False,
        )


def lost_contact(error: BaseException) -> bool:
    """Whether an error only says that another process does not answer."""
    said = any(words in str(error) for words in GLOO)
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and said)


def _exit_code(error: BaseException) -> int:
    code = getattr(error, "exit_code", None)
    return code if isinstance(code, int) else 130 if isinstance(error, KeyboardInterrupt) else 1


def connect(world: World, *, run: int, timeout: int) -> Members:
    """Meet the other processes.

    Args:
        world: where they meet.
        run: number of the run that these processes make together.
        timeout: seconds after which a silent process is given up.
    """
    serves = world.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    stores = []
    try:
        for is_master in (serves, False, False):
            stores.append(
                TCPStore(
                    world.address,
                    world.port,
                    is_master=is_master,
                    timeout=timedelta(seconds=JOIN),
                    wait_for_workers=False,
                    multi_tenant=True,  # torch's process group uses the same server
                )
            )
    except RuntimeError as error:
        raise UserError(
            f"process {world.rank} cannot reach process 0 at {world.address}:{world.port} (MASTER_ADDR, MASTER_PORT): "
            f"{str(error).splitlines()[0]}"
        ) from error
    # A restart by torchrun meets in the same store, where the addresses of those that it replaces still stand.
    name = f"lightbox-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}-{run}"
    store, watching, training = (PrefixStore(name, one) for one in stores)
    return Members(world, store=store, watching=watching, training=training, timeout=timeout)
