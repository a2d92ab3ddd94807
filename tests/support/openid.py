"""A real OpenID provider in a process of its own, and a browser that signs in there.

Invariant: the provider is npm's `oidc-provider`, installed from the lock beside it into a cache
folder; it listens on a free port and ends with the test.
"""

import asyncio
import contextlib
import hashlib
import json
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx
import msgspec

from appliance.base.files import write_atomic

FOLDER: Final = Path(__file__).parent / "oidc_provider"
CACHE: Final = Path.home() / ".cache" / "pug-appliance" / "tests"
INSTALL_SECONDS_MAX: Final = 180
READY_SECONDS_MAX: Final = 60
REDIRECTS_MAX: Final = 12
SECRET: Final = "s3cret of %the client"
FRONTEND: Final = "https://board.pug.test"


def has_node() -> bool:
    """Whether this machine can run the provider."""
    return shutil.which("node") is not None and shutil.which("npm") is not None


def installed_provider() -> Path:
    """The folder of the installed provider; installs it the first time, from the package index."""
    names = ("package.json", "package-lock.json")
    digest = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in names))
    folder = CACHE / f"oidc-provider-{digest.hexdigest()[:16]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "oidc-provider.lock").open("w") as lock:
        flock(lock, LOCK_EX)
        if not (folder / "installed").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in names:
                shutil.copyfile(FOLDER / name, folder / name)
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=folder,
                check=True,
                capture_output=True,
                timeout=INSTALL_SECONDS_MAX,
            )
            (folder / "installed").touch()
        program = (FOLDER / "provider.mjs").read_bytes()
        if not (folder / "provider.mjs").exists() or (
            (folder / "provider.mjs").read_bytes() != program
        ):
            write_atomic(folder / "provider.mjs", program)
    return folder


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A client that the provider knows."""

    client_id: str
    redirect_uris: tuple[str, ...]
    client_secret: str | None = SECRET
    response_types: tuple[str, ...] = ("code",)
    grant_types: tuple[str, ...] = ("authorization_code",)
    token_endpoint_auth_method: str = "client_secret_basic"
    id_token_signed_response_alg: str = "RS256"
    scope: str = "openid email profile groups"


class RunningProvider:
    """A provider that answers."""

    def __init__(self, process: asyncio.subprocess.Process, issuer: str) -> None:
        self._process = process
        self.issuer = issuer

    async def add_account(self, account: str, **claims: object) -> None:
        """Let a person exist, or change what is said of them."""
        await self._command({"account": account, "claims": claims})

    async def rotate(self) -> None:
        """Replace the keys."""
        await self._command({"rotate": True})

    async def asked(self, path: str) -> int:
        """How often a path was asked for."""
        return int((await self._command({}))["counts"].get(path, 0))

    async def _command(self, command: Mapping[str, object]) -> Any:  # what a test's program answers
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def running_provider(
    *clients: Client, tls: tuple[Path, Path] | None = None, claims_in_id_token: bool = True
) -> AsyncGenerator[RunningProvider]:
    """A provider for these clients; `tls` is its certificate and key."""
    folder = await asyncio.to_thread(installed_provider)
    process = await asyncio.create_subprocess_exec(
        "node",
        "provider.mjs",
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        described = [
            {name: value for name, value in msgspec.to_builtins(one).items() if value is not None}
            for one in clients
        ]
        given: dict[str, object] = {"clients": described, "claimsInIdToken": claims_in_id_token}
        if tls is not None:
            given["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        process.stdin.write(json.dumps(given).encode() + b"\n")
        async with asyncio.timeout(READY_SECONDS_MAX):
            line = await process.stdout.readline()
        assert line.startswith(b"READY="), line
        yield RunningProvider(process, json.loads(line.removeprefix(b"READY="))["issuer"])
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        transport: Any = process._transport  # type: ignore[attr-defined]  # asyncio closes it late
        transport.close()  # pyright: ignore[reportUnknownMemberType] # private to asyncio


async def signed_in_at(
    url: str, account: str, *, until: str, trust: ssl.SSLContext | None = None
) -> dict[str, str]:
    """Follow a browser through the provider; the query with which it comes back to `until`."""
    parts = urlsplit(url)
    url = urlunsplit(parts._replace(query=f"{parts.query}&login_hint={account}"))
    async with httpx.AsyncClient(verify=trust or True, trust_env=False, timeout=60) as browser:
        for _ in range(REDIRECTS_MAX):
            answer = await browser.get(url)
            assert answer.is_redirect, (answer.status_code, answer.text[:500])
            url = str(answer.next_request.url if answer.next_request else "")
            if url.startswith(until):
                return dict(parse_qsl(urlsplit(url).query))
    raise AssertionError(url)
