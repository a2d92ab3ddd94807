"""One operating system process, from spawn to reaped.

Invariant: whoever holds the Child is the only one that signals or reaps the pid; when the process
has ended, its group is killed before the number is given back, and everything it printed is read.
Nothing here decides; `tree.py` does.
"""

import asyncio
import os
import signal
import subprocess  # noqa: TID251 the one home of processes
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

import msgspec

from appliance.base.errors import MisconfiguredError, UnavailableError
from appliance.base.ready import READY_DESCRIPTOR_VARIABLE, Readiness, parse_ready
from appliance.supervisor.environment import child_environment, launcher_argv
from appliance.supervisor.identity import ProcessIdentity, facts_of
from appliance.supervisor.spec import ProcessSpec, StopStep

_READ_BYTES: Final = 64 << 10
_READS_PER_WAKE_MAX: Final = 4
_READY_BYTES_MAX: Final = 4096
_KILL_SECONDS_MAX: Final = 10.0


class Sink(Protocol):
    """Who takes what a child prints."""

    pid: int | None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        ...

    def close(self) -> None:
        """There are no more."""
        ...


class Child:
    """A running process. `exited` is done when it has been reaped, with its exit status."""

    def __init__(self, spec: ProcessSpec, *, sink: Sink, inherited: Mapping[str, str]) -> None:
        """Start the process.

        Raises MisconfiguredError when the program is missing and UnavailableError when the system
        has no room for it.
        """
        self._loop = asyncio.get_running_loop()
        self._sink = sink
        self.exited: asyncio.Future[int] = self._loop.create_future()
        self.announced: asyncio.Future[Readiness] = self._loop.create_future()
        self._ready_read = -1
        self._ready_bytes = bytearray()
        self._process = self._spawn(spec, inherited)
        self.pid: Final = self._process.pid
        sink.pid = self.pid
        facts = facts_of(self.pid)
        self.identity: Final = ProcessIdentity(
            name=spec.name,
            pid=self.pid,
            start_ticks=facts.start_ticks if facts else 0,
            stop_signal=spec.stop[0].signal,
            data_directory=str(spec.data_directory or ""),
        )
        self._pidfd = os.pidfd_open(self.pid)
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        os.set_blocking(self._output, False)
        self._loop.add_reader(self._output, self._read_output)
        self._loop.add_reader(self._pidfd, self._reap)

    def _spawn(self, spec: ProcessSpec, inherited: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        environment = child_environment(spec.environment, own=spec.own, inherited=inherited)
        kept = [descriptor.number for descriptor in spec.descriptors]
        environment |= {one.variable: str(one.number) for one in spec.descriptors}
        ready_write = -1
        if spec.announces:
            self._ready_read, ready_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            environment[READY_DESCRIPTOR_VARIABLE] = str(ready_write)
            kept.append(ready_write)
        try:
            return subprocess.Popen(  # noqa: S603 argv lists of our own specs, never a shell
                [*launcher_argv(), _orders(spec), *spec.argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=kept,
                start_new_session=True,
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise MisconfiguredError(
                "PROGRAM_MISSING",
                f"{spec.name}: the program {launcher_argv()[0]} does not exist",
                hint="install the appliance again",
            ) from error
        except OSError as error:
            raise UnavailableError(
                "PROCESS_REFUSED",
                f"{spec.name}: no process could be started: {error.strerror}",
                hint="check the limits on processes and memory",
            ) from error
        finally:
            if ready_write >= 0:
                os.close(ready_write)
                self._loop.add_reader(self._ready_read, self._read_readiness)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; a reaped process gets none."""
        if not self.exited.done():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)

    def kill_group(self) -> None:
        """Kill the process and everything in its group."""
        if not self.exited.done():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, steps: tuple[StopStep, ...], *, hurry: asyncio.Event) -> None:
        """End the process: each step with its budget, then the group is killed.

        Once `hurry` is set no budget counts any more.
        """
        for step in steps:
            if self.exited.done() or hurry.is_set():
                break
            self.signal(step.signal)
            await self._wait_exit(step.budget_seconds, hurry)
        if not self.exited.done():
            self.kill_group()
            await self._wait_exit(_KILL_SECONDS_MAX, None)
        assert self.exited.done(), f"pid {self.pid} survived SIGKILL"

    async def _wait_exit(self, seconds: float, hurry: asyncio.Event | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                waiting = [group.create_task(_settled(self.exited))]
                if hurry is not None:
                    waiting.append(group.create_task(_is_set(hurry)))
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in waiting:
                    task.cancel()

    def _read_output(self) -> None:
        for _ in range(_READS_PER_WAKE_MAX):
            try:
                chunk = os.read(self._output, _READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                chunk = b""
            if not chunk:
                self._loop.remove_reader(self._output)
                return
            self._sink.feed(chunk)

    def _read_readiness(self) -> None:
        try:
            chunk = os.read(self._ready_read, _READY_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._ready_bytes += chunk
        line, ended, _ = bytes(self._ready_bytes).partition(b"\n")
        readiness = parse_ready(line) if ended else None
        if readiness is not None and not self.announced.done():
            self.announced.set_result(readiness)
        if not chunk or ended or len(self._ready_bytes) > _READY_BYTES_MAX:
            self._close_readiness()

    def _close_readiness(self) -> None:
        if self._ready_read >= 0:
            self._loop.remove_reader(self._ready_read)
            os.close(self._ready_read)
            self._ready_read = -1

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        # The leader is a zombie here, so its group number cannot belong to anybody else yet.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        status = self._process.wait()
        os.close(self._pidfd)
        self._drain()
        self._close_readiness()
        if not self.exited.done():
            self.exited.set_result(status)

    def _drain(self) -> None:
        self._loop.remove_reader(self._output)
        # One pipe's worth at most: an escaped grandchild could hold the pipe and print for ever.
        for _ in range(2 * _READS_PER_WAKE_MAX):
            try:
                chunk = os.read(self._output, _READ_BYTES)
            except OSError:
                break
            if not chunk:
                break
            self._sink.feed(chunk)
        self._sink.close()
        assert self._process.stdout is not None
        self._process.stdout.close()


async def _settled(future: "asyncio.Future[int]") -> None:
    await asyncio.shield(future)


async def _is_set(event: asyncio.Event) -> None:
    await event.wait()


def _orders(spec: ProcessSpec) -> str:
    return msgspec.json.encode(
        {
            "parent": os.getpid(),
            "death_signal": int(spec.death_signal),
            "uid": spec.account.uid if spec.account else None,
            "gid": spec.account.gid if spec.account else None,
            "directory": str(spec.directory) if spec.directory else None,
            "open_files": spec.open_files_max,
            "oom_score_adjust": spec.oom_score_adjust,
        }
    ).decode()


def describe_status(status: int) -> str:
    """An exit status in words: `exited 1` or `killed by SIGKILL`."""
    if status >= 0:
        return f"exited {status}"
    try:
        return f"killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"killed by signal {-status}"
