"""The processes that train together, and what stops them: ranks under torchrun, signals, one process to a folder."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ncamlib.errors import NcamError
from ncamlib.project import Busy, locked

HOLDER = ".holder"  # names the process that has locked the folder
PATIENCE = 0.5  # seconds, in which others look whether a folder is free
STOPS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class InUse(NcamError):
    """Another process is training in the folder."""


@dataclass
class Ranks:
    """One process among those that train together; alone unless torchrun started it."""

    rank: int = 0
    world: int = 1

    @property
    def main(self) -> bool:
        """Whether this process saves and reports."""
        return self.rank == 0

    def divide(self, batch: int) -> None:
        """NcamError unless the global batch can be divided among the processes."""
        if batch % self.world:
            raise NcamError(f"the batch of {batch} cannot be divided among {self.world} processes")

    def share(self, batch: int) -> slice:
        """The process's part of the global batch."""
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def require_alike(self, facts: dict[str, Any]) -> None:
        """NcamError unless all processes were started with the same facts; the first one reports it."""
        if self.world == 1:
            return
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, facts)
        for rank, others in enumerate(everyone):
            for name, value in everyone[0].items():
                if others[name] != value:
                    if not self.main:
                        raise SystemExit(2)
                    raise NcamError(f"the {name} of process {rank} and of the first differ: start all of them alike")

    def told(self, value: Any) -> Any:
        """The first process's value, in all processes."""
        if self.world == 1:
            return value
        told = [value]
        dist.broadcast_object_list(told, 0, device=torch.device("cpu"))
        return told[0]

    def mean(self, value: torch.Tensor) -> float:
        """The mean of a scalar tensor over all processes."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value.item() / self.world

    def agree(self, progress: float, stop: bool, device: torch.device) -> tuple[float, bool]:
        """All processes follow the first one's clock, and stop if any is asked to."""
        if self.world == 1:
            return progress, stop
        clock = torch.tensor([progress if self.main else 0.0], dtype=torch.float64, device=device)
        dist.broadcast(clock, 0)
        flag = torch.tensor([float(stop)], device=device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return clock.item(), bool(flag.item())


def own_device(device: torch.device) -> torch.device:
    """Under torchrun each process has a GPU of its own, which becomes its current one; NcamError without one."""
    if device.type == "cuda" and launched():
        own, there = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if own >= there:
            raise NcamError(
                f"this is process {own + 1} of this machine, which has {there} GPUs: start as many processes"
            )
        device = torch.device("cuda", own)
        torch.cuda.set_device(device)
    return device


def launched() -> bool:
    """Whether torchrun started this process; NcamError if the environment says so in part only."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT") if "RANK" in os.environ else ():
        if not os.environ.get(name, "").isdigit():
            raise NcamError(f"RANK is set, but {name} is not a number: start several processes with torchrun")
    return "RANK" in os.environ


@contextlib.contextmanager
def ranks(device: torch.device) -> Iterator[Ranks]:
    """Join the other processes if torchrun started this one."""
    if not launched():
        yield Ranks()
        return
    joined = not dist.is_initialized()
    if joined:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        if joined:
            dist.destroy_process_group()


class StopRequests(list[int]):
    """The signals that asked a training to stop. While there is nothing to save, they end it at once."""

    saves = False  # whether the training saves when it is asked to stop


class Stopped(NcamError):
    """A training was asked to stop, and has saved; `number` is the signal's."""

    def __init__(self, number: int, message: str):
        super().__init__(message)
        self.number = number


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequests]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of ending at once: the current step is first finished and saved.

    A second Ctrl-C does not wait.
    """
    asked, handlers = StopRequests(), {}

    def ask(number: int, _: object) -> None:
        if not asked.saves or (asked and number == signal.SIGINT):
            print(f"ended by {signal.Signals(number).name}: what was saved before is kept", file=sys.stderr)
            raise SystemExit(128 + number)
        asked.append(number)

    for number in STOPS:
        if signal.getsignal(number) is signal.SIG_IGN:  # nohup, or a job in the background: it goes on
            continue
        with contextlib.suppress(ValueError):  # outside the main thread there are no handlers
            handlers[number] = signal.signal(number, ask)
    try:
        yield asked
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; InUse if one has it. The system releases it when its holder dies."""
    note = folder / HOLDER
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder, PATIENCE))
            note.write_text(str(os.getpid()))
        except Busy as error:
            raise InUse(
                f"process {_noted(note) or '?'} is training in {folder}: wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise NcamError(f"cannot write into {folder} ({error.strerror}): choose another folder") from error
        stack.callback(note.unlink, missing_ok=True)
        yield


def _noted(note: Path) -> int:
    """The noted process that holds a folder; 0 if that cannot be read."""
    try:
        return int(note.read_text())
    except (OSError, ValueError):
        return 0


def holder(folder: Path) -> int | None:
    """The process that is training in a folder, None if there is none."""
    try:
        with locked(folder) if folder.is_dir() else contextlib.nullcontext():
            return None
    except Busy:
        return _noted(folder / HOLDER)
