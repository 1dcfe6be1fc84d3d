"""One run in several processes: who starts them, and how Lightning finds them.

`trainer.devices=2` makes process 0 start the others itself, as `python train.py` with torchrun's variables and its own
resolved configuration on their standard input, which stays open: its end tells them that process 0 is gone. (Lightning
would run the command line again, which from Python or a test is another program, and would compose another run.)
Under torchrun and SLURM all are there already, and take process 0's configuration, too.
"""

import atexit
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.fabric.utilities.distributed import _destroy_dist_connection
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed import TCPStore

from callbacks.signals import Stopped, StopSignals
from engine.process_group import GRACE, Members, connect
from settings.errors import UserError
from settings.paths import ROOT
from settings.schema.run_config import RunConfig, taken_over
from settings.world import OURS, World, interface_to, launched

_runs = itertools.count()


def together(config: RunConfig, work: Callable[[RunConfig, Members], Any]) -> Any:
    """Do a run's work in as many processes as it wants; returns what the work returns.

    Args:
        config: of this process; that of process 0 holds for all.
        work: what each process does.
    """
    settle_devices(config)
    world = launched()
    if world is not None and world.size > 1:
        return _as_member(world, config, work)
    if world is not None or config.trainer.processes == 1:
        return work(config, Members())
    with StopSignals(speaks=False), _started(config) as (world, children):
        return _as_member(world, config, work, children)


def settle_devices(config: RunConfig) -> None:
    """Put a number in place of `auto` and -1.

    Raises:
        UserError: there are not so many devices, or the batch does not divide by them.
    """
    trainer, data = config.trainer, config.data
    kind = trainer.accelerator
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    there |= {"gpu": there["cuda"] or there["mps"], "tpu": find_spec("torch_xla") is not None, "auto": True}
    if not there[kind]:
        found = ", ".join(name for name in ("cpu", "cuda", "mps", "tpu") if there[name])
        raise UserError(
            f"trainer.accelerator={kind}: there is none here; this machine has {found}, and "
            "trainer.accelerator=auto takes the fastest"
        )
    if kind in ("auto", "gpu"):
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    available = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind)
    if trainer.devices in ("auto", -1):
        trainer.devices = available or 1
    wanted = trainer.devices
    if kind == "cpu" and isinstance(wanted, list):
        raise UserError(f"trainer.devices={wanted} names GPUs, and this runs on the CPU: give a number of processes")
    most = max(wanted) + 1 if isinstance(wanted, list) else int(wanted)
    if available is not None and most > available:
        raise UserError(f"trainer.devices={wanted}: there are {available} devices for {kind} here")
    if kind == "cpu" and trainer.sync_batchnorm and trainer.processes != 1:
        raise UserError("trainer.sync_batchnorm=true: torch has it for GPUs only")
    assert trainer.processes is not None
    parts = trainer.processes * trainer.accumulate_grad_batches
    if data.batch_size is not None and data.batch_size % parts:
        raise UserError(
            f"data.batch_size={data.batch_size}: must divide by {parts} (processes x accumulate_grad_batches)"
        )


def _as_member(
    world: World,
    config: RunConfig,
    work: Callable[[RunConfig, Members], Any],
    children: Mapping[int, subprocess.Popen[bytes]] | None = None,
) -> Any:
    # Processes that this run started itself meet in a store of its own; those of torchrun in one for all their runs.
    run = 0 if children is not None or os.environ.get(OURS) else next(_runs)
    if world.nodes > 1 and "GLOO_SOCKET_IFNAME" not in os.environ and (interface := interface_to(world.address)):
        os.environ["GLOO_SOCKET_IFNAME"] = interface
    members = connect(world, run=run, timeout=config.trainer.process_timeout)
    with contextlib.ExitStack() as stack:
        stack.enter_context(members.watched())
        if world.rank:
            # One run, one voice: the last line of standard output is the run's folder.
            nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        if os.environ.get(OURS):
            threading.Thread(target=_end_with_process_0, daemon=True, name="end of process 0").start()
        for rank, child in (children or {}).items():
            threading.Thread(target=_speak_for, args=(members, rank, child)).start()  # ends with the child
        try:
            members.join()
            config = taken_over(members.decided(config.handed_over))
            result = work(config, members)
            members.leave()
            return result
        except BaseException as error:
            if isinstance(error, Stopped) and error.agreed:
                members.leave()
                error.told = world.rank != 0
                raise
            cause = members.cause(error)
            if cause is error:
                raise
            raise cause from error


@contextlib.contextmanager
def _started(config: RunConfig) -> Iterator[tuple[World, dict[int, subprocess.Popen[bytes]]]]:
    """Start the other processes of this machine; they are gone when the context ends."""
    count = config.trainer.processes
    nodes = config.trainer.num_nodes
    assert count is not None
    here = count // nodes
    server = None
    if nodes > 1:
        address, port, node = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), int(os.environ["NODE_RANK"])
    else:
        # Port 0 is any that is free. torch's process group finds the same server by its number.
        server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, multi_tenant=True)
        address, port, node = "127.0.0.1", server.port, 0
    worlds = [
        World(
            launcher="this run",
            rank=node * here + local_rank,
            size=count,
            local_rank=local_rank,
            local_size=here,
            node=node,
            nodes=nodes,
            address=address,
            port=port,
        )
        for local_rank in range(here)
    ]
    threads = torch.get_num_threads()
    before = {name: os.environ.get(name) for name in (*worlds[0].variables(), "OMP_NUM_THREADS")}
    children: dict[int, subprocess.Popen[bytes]] = {}
    failed = True
    try:
        # Each takes its share of the cores; a number of the user's own is kept.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // here)))
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].split(",")[0]))
        for world in worlds[1:]:
            children[world.rank] = _start(world, config)
        os.environ.update(worlds[0].variables())
        yield worlds[0], children
        failed = False
    finally:
        _end(children, at_once=failed)
        if torch.distributed.is_initialized():  # else the next run of this process would wait for the others
            torch.distributed.destroy_process_group()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.set_num_threads(threads)
        del server


def _start(world: World, config: RunConfig) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py")],
        env={**os.environ, **world.variables(), OURS: "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it is dead already; who waits for it says so
        child.stdin.write(config.handed_over().encode() + b"\n")
        child.stdin.flush()
    return child


def _end(children: Mapping[int, subprocess.Popen[bytes]], *, at_once: bool) -> None:
    for child in children.values():
        try:
            child.wait(timeout=1.0 if at_once else GRACE)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()


def _speak_for(members: Members, rank: int, child: subprocess.Popen[bytes]) -> None:
    """Tell how a process ended that could not tell it itself."""
    code = child.wait()
    if code:
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        members.say_for(rank, how, 1 if code < 0 else code)


def _end_with_process_0() -> None:
    """Wait for the end of standard input, which process 0 holds open; then this process has no more to do."""
    while os.read(0, 4096):  # not `sys.stdin`, whose lock would be held when the interpreter ends
        pass
    threading.Event().wait(GRACE)
    os._exit(1)


class LaunchedProcesses(ClusterEnvironment):
    """Tells Lightning where this process stands; all of them are running already."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    @property
    def creates_processes_externally(self) -> bool:
        """Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Where process 0 listens."""
        return self._world.address

    @property
    def main_port(self) -> int:
        """Where process 0 listens."""
        return self._world.port

    @staticmethod
    def detect() -> bool:
        """It is made by hand."""
        return False

    def world_size(self) -> int:
        """Number of processes."""
        return self._world.size

    def set_world_size(self, size: int) -> None:
        """Check what Lightning makes of the devices."""
        assert size == self._world.size, (size, self._world)

    def global_rank(self) -> int:
        """Number of this process."""
        return self._world.rank

    def set_global_rank(self, rank: int) -> None:
        """Check what Lightning makes of the devices."""
        assert rank == self._world.rank, (rank, self._world)

    def local_rank(self) -> int:
        """Number of this process on its machine."""
        return self._world.local_rank

    def node_rank(self) -> int:
        """Number of this machine."""
        return self._world.node


class LaunchedDDP(DDPStrategy):
    """DDP among processes that are running already; Lightning's launcher would refuse to work in a notebook.

    Args:
        members: this process among the others.
        arguments: of `DDPStrategy`.
    """

    def __init__(self, members: Members, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._members = members

    def setup_distributed(self) -> None:
        """Meet the others under a name of this start's own: torch would read the addresses of one that torchrun ended,
        and wait for them (torch 2.14 keeps torchrun's store over its restarts, without a name for each).
        """
        world = self._members.world
        assert world is not None
        if not torch.distributed.is_initialized():
            backend = self._get_process_group_backend()
            torch.distributed.init_process_group(
                backend,
                store=self._members.training,
                rank=world.rank,
                world_size=world.size,
                timeout=self._timeout,
                device_id=self.root_device if self.root_device.type != "cpu" else None,
            )
            if backend == "nccl":  # torch warns of a group that is still there at the end
                atexit.register(_destroy_dist_connection)
        super().setup_distributed()

    def _configure_launcher(self) -> None:
        self._launcher = None


def process_arguments(members: Members, arguments: Mapping[str, Any], *, find_unused: bool = False) -> dict[str, Any]:
    """Trainer arguments with the strategy for several processes in place of its name.

    Args:
        members: this process among the others.
        arguments: plain arguments of `lightning.Trainer`.
        find_unused: whether some parameters may get no gradient in a step (frozen ones).
    """
    if members.world is None:
        return dict(arguments)
    strategy = LaunchedDDP(
        members,
        cluster_environment=LaunchedProcesses(members.world),
        timeout=timedelta(seconds=members.timeout),
        find_unused_parameters=find_unused or arguments["strategy"] == "ddp_find_unused_parameters_true",
    )
    return {**arguments, "strategy": strategy}
