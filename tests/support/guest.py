"""A Debian machine under a real systemd, without a network, in a folder of this machine.

Invariant: the guest has a network namespace of its own with one cable that ends here, where every
packet it sends is counted; whatever the test does, no process of the guest outlives it. Needs root,
systemd-nspawn and mmdebstrap; `why_not` says what is missing.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Final

PACKAGES: Final = ("systemd", "systemd-sysv", "dbus", "iproute2", "procps", "curl", "nftables")
SUITE: Final = "bookworm"
MIRROR: Final = "http://deb.debian.org/debian"
CACHE: Final = Path("/var/tmp/pug-airgap")
BOOT_SECONDS_MAX: Final = 180
COMMAND_SECONDS_MAX: Final = 300
GUEST_ADDRESS: Final = "10.99.0.2"
OUTSIDE_ADDRESS: Final = "10.99.0.1"
_OWN_USERS: Final = ("--private-users=pick", "--private-users-ownership=auto")
_USER_NAMESPACES: Final = "/proc/sys/user/max_user_namespaces"
_NEEDED: Final = ("systemd-nspawn", "mmdebstrap", "nsenter", "unshare", "ip")


def why_not() -> str:
    """What keeps a guest from booting here; empty when nothing does."""
    if os.geteuid() != 0:
        return "a guest needs root"
    missing = [tool for tool in _NEEDED if shutil.which(tool) is None]
    if missing:
        return f"missing: {', '.join(missing)} (apt install systemd-container mmdebstrap iproute2)"
    return ""


def debian_root(packages: Sequence[str]) -> Path:
    """The Debian root with these packages that guests are copied from; made once a machine."""
    root = CACHE / f"{SUITE}-{len(packages)}"
    if not root.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        making = CACHE / f".making-{os.getpid()}"
        shutil.rmtree(making, ignore_errors=True)
        subprocess.run(
            [
                "mmdebstrap",
                "--quiet",
                "--variant=apt",
                f"--include={','.join(packages)}",
                SUITE,
                str(making),
                MIRROR,
            ],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        # A guest has no console to log in at and nothing to fetch.
        for name in ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"):
            (making / "etc/systemd/system" / name).symlink_to("/dev/null")
        making.rename(root)
    return root


class CommandFailedError(AssertionError):
    """A command in the guest ended with a failing status."""


class Guest:
    """One machine. It can be booted, shut down, cut from power and booted again."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        options: Sequence[str] = (),
        packages: Sequence[str] = PACKAGES,
        user_namespaces: bool = True,
    ) -> None:
        """`options` go to systemd-nspawn, like `--tmpfs=/tmp:mode=1777,noexec`.

        Without `user_namespaces` the guest is one itself, in which no further ones can be made: the
        kernel has that limit for each of them, so our own machine stays as it is.
        """
        self.name = name
        self.root = folder / "root"
        self.console = folder / "console.log"
        self._options = (*options, *(() if user_namespaces else _OWN_USERS))
        self._user_namespaces = user_namespaces
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.leader = 0
        base = debian_root(packages)
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(self.root)], check=True)
        (self.root / "etc/hostname").write_text(f"{name}\n")
        (self.root / "etc/machine-id").write_text("")

    # --- power

    def boot(self) -> float:
        """Start the machine; the seconds until it had started everything."""
        started = monotonic()
        command = [
            "systemd-nspawn",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--network-veth",
            f"--machine={self.name}",
            "--resolv-conf=off",
            "--timezone=off",
            f"--directory={self.root}",
            "--console=read-only",
            # A guest shares our clock: setting it there would set it here.
            "--drop-capability=CAP_SYS_TIME",
            *self._options,
            "--boot",
        ]
        script = (
            # Guests that share a control group would end each other's processes.
            "for folder in $GROUPS_OF_GUEST; do mkdir -p $folder; echo $$ >$folder/cgroup.procs;"
            ' done; mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/nspawn && exec "$@"'
        )
        with self.console.open("ab") as console:
            self._nspawn = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env={**os.environ, "GROUPS_OF_GUEST": " ".join(map(str, self._groups()))},
            )
        self.leader = self._find_leader(started + BOOT_SECONDS_MAX)
        if not self._user_namespaces:
            self._forbid_user_namespaces()
        self._wait_booted(started + BOOT_SECONDS_MAX)
        self._plug_in()
        return monotonic() - started

    def shut_down(self) -> None:
        """The ordered way: systemd stops everything, as at a reboot."""
        if self._nspawn is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self.leader, signal.SIGRTMIN + 4)
        try:
            self._nspawn.wait(timeout=120)
        finally:
            self.cut_power()

    def cut_power(self) -> None:
        """The hard way: every process of the guest is gone at once."""
        if self._nspawn is None:
            return
        with suppress(ProcessLookupError):
            os.kill(self.leader, signal.SIGKILL)
        with suppress(ProcessLookupError):
            self._nspawn.kill()
        self._nspawn.wait(timeout=60)
        self._nspawn = None
        for group in self._groups():
            subprocess.run(
                ["find", str(group), "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"],
                check=False,
                stderr=subprocess.DEVNULL,
            )
        end = monotonic() + BOOT_SECONDS_MAX
        while Path(f"/sys/class/net/{self._cable}").exists() and monotonic() < end:
            sleep(0.05)

    def reboot(self) -> float:
        """Shut down and boot; the seconds until it had started everything."""
        self.shut_down()
        return self.boot()

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
        assignments = [f"{name}={value}" for name, value in (environment or {}).items()]
        done = subprocess.run(
            [
                *self.enter(),
                "env",
                "-i",
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root",
                "LANG=C.UTF-8",
                *assignments,
                "sh",
                "-c",
                'cd "$0" && exec "$@"',
                directory,
                *argv,
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
        )
        if check and done.returncode != 0:
            raise CommandFailedError(
                f"`{' '.join(argv)}` in the guest: status {done.returncode}\n"
                f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
            )
        return done

    def shell(self, script: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a shell script inside."""
        return self.run("sh", "-euc", script, **options)  # type: ignore[arg-type]

    def enter(self, *namespaces: str) -> list[str]:
        """The start of a command line that runs inside; by default in all namespaces."""
        return ["nsenter", "--target", str(self.leader), *(namespaces or ("--all",))]

    def inside(self, path: str) -> Path:
        """Where a file of the guest is seen from here."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str) -> None:
        """Put a small file into the guest."""
        self.inside(path).write_text(text)

    def journal(self, unit: str, *, lines: int = 60) -> str:
        """The last log lines of one unit, for a failing test."""
        return self.run(
            "journalctl", "--no-pager", "-n", str(lines), "-u", unit, check=False
        ).stdout

    # --- the cable

    @property
    def _cable(self) -> str:
        """The name of our end; the kernel allows 15 characters."""
        return f"ve-{self.name}"[:15]

    def packets_out(self) -> int:
        """Packets that came out of the guest since boot, of any protocol."""
        counted = subprocess.run(
            ["ip", "-json", "-stats", "link", "show", self._cable],
            check=True,
            capture_output=True,
            text=True,
        )
        stats = json.loads(counted.stdout)[0]["stats64"]
        return int(stats["rx"]["packets"])

    def _groups(self) -> list[Path]:
        """The control groups of this guest, one in each hierarchy that systemd uses."""
        roots = map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"))
        return [root / self.name for root in roots if (root / "cgroup.procs").exists()]

    def _plug_in(self) -> None:
        """An address, a default route and a name server, so that leaving would be possible."""
        for end, enter, address in (
            (self._cable, [], OUTSIDE_ADDRESS),
            ("host0", self.enter("--net"), GUEST_ADDRESS),
        ):
            quiet = ["sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{end}/disable_ipv6 || true"]
            subprocess.run([*enter, *quiet], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(
                [*enter, "ip", "address", "replace", f"{address}/24", "dev", end], check=True
            )
            subprocess.run([*enter, "ip", "link", "set", end, "up"], check=True)
        route = ["ip", "route", "replace", "default", "via", OUTSIDE_ADDRESS]
        subprocess.run([*self.enter("--net"), *route], check=True)
        self.inside("/etc/resolv.conf").write_text(f"nameserver {OUTSIDE_ADDRESS}\n")

    def _forbid_user_namespaces(self) -> None:
        # Through our own /proc, because that of the guest cannot be written; whose limit it is
        # depends on who writes.
        subprocess.run(
            [*self.enter("--user"), "sh", "-c", f"echo 0 >{_USER_NAMESPACES}"], check=True
        )

    # --- boot, seen from outside

    def _find_leader(self, deadline: float) -> int:
        assert self._nspawn is not None
        while monotonic() < deadline:
            assert self._nspawn.poll() is None, f"nspawn ended: {self._console_end()}"
            for pid in _descendants(self._nspawn.pid):
                with suppress(OSError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    if re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE):
                        return pid
            sleep(0.05)
        raise AssertionError(f"the guest did not start: {self._console_end()}")

    def _wait_booted(self, deadline: float) -> None:
        state = ""
        while monotonic() < deadline:
            asked = subprocess.run(
                [*self.enter(), "systemctl", "is-system-running"],
                check=False,
                capture_output=True,
                text=True,
            )
            state = asked.stdout.strip()
            if state in {"running", "degraded"}:
                return
            sleep(0.05)
        raise AssertionError(f"the guest is {state or 'silent'}: {self._console_end()}")

    def _console_end(self) -> str:
        return self.console.read_text(errors="replace")[-2000:] if self.console.exists() else ""


def _descendants(pid: int) -> Generator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


@contextmanager
def guest_machine(
    folder: Path,
    name: str,
    *,
    options: Sequence[str] = (),
    packages: Sequence[str] = PACKAGES,
    user_namespaces: bool = True,
) -> Generator[Guest]:
    """A booted guest for the length of a block."""
    guest = Guest(folder, name, options=options, packages=packages, user_namespaces=user_namespaces)
    try:
        guest.boot()
        yield guest
    finally:
        guest.cut_power()
        shutil.rmtree(guest.root, ignore_errors=True)
