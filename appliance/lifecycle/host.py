"""The machine as the life cycle changes it: files with owner and mode, links, accounts, commands.

Invariant: every change goes through a `Host`, so a test can watch it, and no mode depends on the
umask. All methods can be repeated.
"""

import asyncio
import os
import pwd
import shutil
import subprocess  # noqa: TID251 system tools (systemctl, useradd) are no components to supervise
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from appliance.base.errors import ApplianceError, TimedOutError, UnavailableError
from appliance.base.files import flush_folder, unwritable, write_atomic

_COMMAND_SECONDS_MAX: Final = 120.0
_SYSTEM_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}
_ROOT: Final = "root"
_PARENT_FOLDER: Final = 0o755


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a system command said."""

    status: int
    output: str
    errors: str


class Host(Protocol):
    """What the life cycle may do to a machine."""

    async def run(
        self, *argv: str, timeout_seconds: float = _COMMAND_SECONDS_MAX, check: bool = True
    ) -> CommandResult:
        """Run a system tool; with `check` a failing status raises UnavailableError naming it."""
        ...

    def write(self, path: Path, content: bytes, *, mode: int, owner: str = _ROOT) -> None:
        """Replace a file whole."""
        ...

    def make_folder(self, path: Path, *, mode: int, owner: str = _ROOT) -> None:
        """Have a folder with exactly this mode and owner."""
        ...

    def link(self, path: Path, target: Path) -> None:
        """Have a symbolic link at `path`; an earlier one is replaced in one rename."""
        ...

    def remove(self, path: Path) -> None:
        """Have no file, link or folder tree there."""
        ...

    async def ensure_user(self, name: str, *, groups: tuple[str, ...] = ()) -> None:
        """Have a system account and group without shell and home."""
        ...

    async def remove_user(self, name: str) -> None:
        """Have no such account and group."""
        ...


class RealHost:
    """The machine we run on."""

    async def run(
        self, *argv: str, timeout_seconds: float = _COMMAND_SECONDS_MAX, check: bool = True
    ) -> CommandResult:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_SYSTEM_ENVIRONMENT,
            )
        except OSError as error:
            raise _unusable(argv, error.strerror or str(error)) from error
        try:
            async with asyncio.timeout(timeout_seconds):
                output, errors = await process.communicate()
        except TimeoutError as error:
            raise TimedOutError(
                "COMMAND_SLOW", f"`{' '.join(argv)}` did not end within {timeout_seconds:.0f} s"
            ) from error
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        result = CommandResult(
            status=process.returncode or 0,
            output=output.decode("utf-8", "replace"),
            errors=errors.decode("utf-8", "replace"),
        )
        if check and result.status != 0:
            said = (result.errors or result.output).strip().splitlines()
            raise _unusable(argv, said[-1] if said else f"exit status {result.status}")
        return result

    def write(self, path: Path, content: bytes, *, mode: int, owner: str = _ROOT) -> None:
        write_atomic(path, content, mode=mode)
        self.own(path, owner)

    def make_folder(self, path: Path, *, mode: int, owner: str = _ROOT) -> None:
        try:
            # A missing folder above is one like /opt: everybody may pass, whatever the umask says.
            missing = [folder for folder in path.parents if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                folder.chmod(_PARENT_FOLDER)
            path.mkdir(exist_ok=True)
            path.chmod(mode)
        except OSError as error:
            raise unwritable(path, error) from error
        self.own(path, owner)

    def own(self, path: Path, owner: str) -> None:
        """Give a file to an account and its group."""
        try:
            entry = pwd.getpwnam(owner)
            os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
        except KeyError as error:
            raise UnavailableError(
                "ACCOUNT_MISSING",
                f"the account {owner} does not exist",
                hint="run `pug-appliance install` again; it makes the accounts",
            ) from error
        except OSError as error:
            raise unwritable(path, error) from error

    def link(self, path: Path, target: Path) -> None:
        beside = path.with_name(f".{path.name}.linking")
        try:
            beside.unlink(missing_ok=True)
            beside.symlink_to(target)
            beside.replace(path)
            flush_folder(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error

    def remove(self, path: Path) -> None:
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if path.parent.is_dir():
                flush_folder(path.parent)
        except OSError as error:
            raise unwritable(path, error) from error

    async def ensure_user(self, name: str, *, groups: tuple[str, ...] = ()) -> None:
        if not _exists(name):
            options = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
            await self.run("useradd", *options, "--shell", _no_shell(), name)
        if groups:
            await self.run("usermod", "--append", "--groups", ",".join(groups), name)

    async def remove_user(self, name: str) -> None:
        if _exists(name):
            await self.run("userdel", name)
        # userdel takes the group along, unless somebody else has become its member.
        await self.run("groupdel", name, check=False)


def _no_shell() -> str:
    """The program that refuses a login, wherever this distribution has it."""
    shells = ("/usr/sbin/nologin", "/sbin/nologin")
    return next((path for path in shells if Path(path).exists()), "/bin/false")


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _unusable(argv: tuple[str, ...], said: str) -> ApplianceError:
    return UnavailableError(
        "COMMAND_FAILED", f"`{' '.join(argv)}` failed: {said}", hint="run it by hand to see more"
    )
