"""A Debian machine with a kernel and a clock of its own: User Mode Linux, and no network card.

Invariant: its clock and its kernel settings are nobody else's, so a test may set them as it likes;
no process of it outlives the test. A root shell listens on a serial line: one request a line, the
base64 of a script; one answer a line, the status and the base64 of both outputs. It computes as
fast as this machine, on one processor, but every call of its kernel is dear. Needs root, linux.uml,
mke2fs and mmdebstrap; `why_not` says what is missing.
"""

import base64
import os
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from tests.support.guest import CommandFailedError

BOOT_SECONDS_MAX: Final = 400
COMMAND_SECONDS_MAX: Final = 900
_NEEDED: Final = ("linux.uml", "mke2fs", "mmdebstrap", "nice")
_DISK: Final = "12G"
_MEMORY: Final = "4G"
_LINE: Final = "/dev/ttyS0"
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_SHELL: Final = f"""#!/bin/bash
# Runs what the other side of the line sends, one script after the other.
cd /run/pug-shell
exec 3<>{_LINE}
stty -F {_LINE} raw -echo
echo ready >&3
while true; do
    IFS= read -r request <&3 || {{ sleep 1; continue; }}
    base64 -d <<<"$request" >script
    env -i PATH={_PATH} HOME=/root LANG=C.UTF-8 \\
        bash script </dev/null >out 2>err 3>&-
    printf '%s %s %s\\n' "$?" "$(base64 -w0 out)" "$(base64 -w0 err)" >&3
done
"""
_BATTERY: Final = """#!/bin/sh
# Such a machine has no clock that runs while it is off: it begins with what the kernel was told.
date --utc -s "@$battery" >/dev/null
exec /sbin/init
"""
_UNIT: Final = """[Unit]
Description=Root shell of the test

[Service]
ExecStart=/usr/local/sbin/pug-shell
RuntimeDirectory=pug-shell
WorkingDirectory=/run/pug-shell

[Install]
WantedBy=multi-user.target
"""


def why_not() -> str:
    """What keeps such a machine from booting here; empty when nothing does."""
    if os.geteuid() != 0:
        return "a machine's disk is made as root"
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    return f"missing: {', '.join(missing)} (apt install user-mode-linux)" if missing else ""


class Machine:
    """One machine. It can be booted, shut down, cut from power and booted again."""

    def __init__(self, folder: Path, root: Path, *, settings: Mapping[str, str]) -> None:
        """Make the disk of a root; `settings` are the kernel's (sysctl)."""
        self.console = folder / "console.log"
        self._disk = folder / "disk.ext4"
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._heard = b""
        _equip(root, settings)
        subprocess.run(
            ["mke2fs", "-q", "-t", "ext4", "-L", "root", "-d", root, self._disk, _DISK], check=True
        )

    # --- power

    def boot(self, *, battery: datetime) -> float:
        """Start the machine, its clock showing `battery`; the seconds until its shell answered."""
        started = monotonic()
        self._channel, line = socket.socketpair()
        with line, self.console.open("ab") as console:
            self._process = subprocess.Popen(
                ["nice", "-n", "10", *self._command(battery, line.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                pass_fds=(line.fileno(),),
            )
        self._heard = b""
        self._hear("the start", started + BOOT_SECONDS_MAX)
        return monotonic() - started

    def shut_down(self) -> None:
        """The ordered way: systemd stops everything and turns the power off."""
        if self._process is None:
            return
        try:
            # The power may be off before the shell can say that it did as it was told.
            with suppress(AssertionError):
                self.shell("systemctl --no-block poweroff")
            self._process.wait(timeout=BOOT_SECONDS_MAX)
        finally:
            self.cut_power()

    def cut_power(self) -> None:
        """The hard way: the machine is gone at once."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=60)
            self._process = None

    def reboot(self, *, battery: datetime) -> float:
        """Shut down and boot; the seconds until its shell answered."""
        self.shut_down()
        return self.boot(battery=battery)

    # --- commands

    def run(
        self,
        *argv: str,
        check: bool = True,
        timeout_seconds: float = COMMAND_SECONDS_MAX,
        directory: str = "/root",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside; raises CommandFailedError with what it printed."""
        words = [f"{name}={value}" for name, value in (environment or {}).items()]
        script = f"cd {shlex.quote(directory)} && exec env {shlex.join([*words, *argv])}"
        return self.shell(script, check=check, timeout_seconds=timeout_seconds)

    def shell(
        self,
        script: str,
        *,
        check: bool = True,
        timeout_seconds: float = COMMAND_SECONDS_MAX,
        directory: str = "/root",
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside."""
        whole = f"cd {shlex.quote(directory)}\nset -eu\n{script}\n"
        status, output, errors = self._ask(whole, monotonic() + timeout_seconds)
        done = subprocess.CompletedProcess([script], status, output, errors)
        if check and status != 0:
            raise CommandFailedError(
                f"`{script}` in the machine: status {status}\n{output[-4000:]}\n{errors[-4000:]}"
            )
        return done

    def write(self, path: str, text: str) -> None:
        """Put a small file into the machine."""
        encoded = base64.b64encode(text.encode()).decode()
        self.shell(f"base64 -d <<<{encoded} >{shlex.quote(path)}")

    def journal(self, unit: str, *, lines: int = 60) -> str:
        """The last log lines of one unit, for a failing test."""
        return self.run(
            "journalctl", "--no-pager", "-n", str(lines), "-u", unit, check=False
        ).stdout

    # --- the clock

    def now(self) -> datetime:
        """What the machine thinks the time is."""
        return datetime.fromtimestamp(int(self.run("date", "+%s").stdout), tz=UTC)

    def set_clock(self, moment: datetime) -> None:
        """Set the clock that the kernel keeps; the one with the battery stays as it is."""
        self.run("date", "--utc", "-s", f"@{int(moment.timestamp())}")

    # --- from outside

    def _command(self, battery: datetime, line: int) -> Sequence[str]:
        return (
            *("linux.uml", f"mem={_MEMORY}", f"ubd0={self._disk}", "root=/dev/ubda", "rw", "quiet"),
            *("init=/usr/local/sbin/pug-battery", f"battery={int(battery.timestamp())}"),
            *("con=null", "con0=null,fd:1", f"ssl0=fd:{line},fd:{line}"),
        )

    def _ask(self, script: str, deadline: float) -> tuple[int, str, str]:
        assert self._channel is not None, "the machine is off"
        self._channel.settimeout(60)
        self._channel.sendall(base64.b64encode(script.encode()) + b"\n")
        status, output, errors = self._hear(script, deadline).split(b" ")
        return int(status), _text(output), _text(errors)

    def _hear(self, about: str, deadline: float) -> bytes:
        """The next line that the machine says."""
        assert self._channel is not None, "the machine is off"
        while b"\n" not in self._heard:
            left = deadline - monotonic()
            if left <= 0:
                raise AssertionError(f"no answer to `{about}`: {self._console_end()}")
            self._channel.settimeout(left)
            with suppress(TimeoutError):
                part = self._channel.recv(1 << 20)
                assert part, f"the machine went off during `{about}`: {self._console_end()}"
                self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def _console_end(self) -> str:
        logs = sorted(self.console.parent.glob(f"{self.console.name}*"))
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in logs)


def _text(encoded: bytes) -> str:
    return base64.b64decode(encoded).decode(errors="replace")


def _equip(root: Path, settings: Mapping[str, str]) -> None:
    """Give a root the shell and the settings."""
    (root / "etc/fstab").write_text("/dev/ubda / ext4 defaults 0 1\n")
    (root / "etc/sysctl.d/50-test.conf").write_text(
        "".join(f"{name} = {value}\n" for name, value in settings.items())
    )
    for name, text in (("pug-shell", _SHELL), ("pug-battery", _BATTERY)):
        program = root / "usr/local/sbin" / name
        program.write_text(text)
        program.chmod(0o755)
    unit = root / "etc/systemd/system/pug-shell.service"
    unit.write_text(_UNIT)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")


@contextmanager
def own_kernel_machine(
    folder: Path, root: Path, *, battery: datetime, settings: Mapping[str, str]
) -> Generator[Machine]:
    """A booted machine for the length of a block; what was in `root` is then on its disk."""
    machine = Machine(folder, root, settings=settings)
    shutil.rmtree(root)
    try:
        machine.boot(battery=battery)
        yield machine
    finally:
        machine.cut_power()
        (folder / "disk.ext4").unlink()
