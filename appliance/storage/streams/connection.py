"""The connection to NATS: one a process, opened when first needed, back within a tenth of a second.

Invariant: making a `Streams` touches no network. Once connected, the driver reconnects for ever in
the background; a call made meanwhile waits a moment and then raises UnavailableError instead of
piling up. The waits are given explicitly, because the driver's own are two seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeVar

import structlog
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from appliance.base.errors import MisconfiguredError
from appliance.base.tasks import poll
from appliance.config.endpoints import NatsEndpoint
from appliance.storage.streams.errors import stream_errors, unavailable

CONNECT_SECONDS_MAX: Final = 2
RECONNECT_SECONDS: Final = 0.1
RECONNECT_WAIT_SECONDS_MAX: Final = 1.5
GIVEN_UP_SECONDS: Final = 5.0
"""After so long without a connection the driver's reconnecting is not trusted any more: an error
it does not expect ends that task silently."""
REQUEST_SECONDS_MAX: Final = 5.0
PING_SECONDS: Final = 5
PENDING_BYTES_MAX: Final = 16 << 20
CLOSE_SECONDS_MAX: Final = 3.0
_POLL_SECONDS: Final = 0.02

Result = TypeVar("Result")

_LOG: Final = structlog.stdlib.get_logger()


class Streams:
    """NATS with JetStream for this process; close it once, after everything that uses it."""

    def __init__(self, endpoint: NatsEndpoint, *, name: str) -> None:
        self._endpoint = endpoint
        self._name = name
        self._client: Client | None = None
        self._opening = asyncio.Lock()
        self._lost_at: float | None = None
        self._lost = asyncio.Event()
        self._listeners: list[tuple[str, Callable[[bytes], None]]] = []

    def listen(self, subject: str, heard: Callable[[bytes], None]) -> None:
        """Call `heard` with every message on a core subject, from the first connection on.

        Messages sent while the connection is down are lost.
        """
        assert self._client is None, "listeners are set before the first connection"
        self._listeners.append((subject, heard))

    @property
    def replicas(self) -> int:
        """How many copies of each stream the operator wants."""
        return self._endpoint.replicas

    @property
    def connected(self) -> bool:
        """Whether the server answers right now."""
        return self._client is not None and self._client.is_connected

    async def client(self) -> Client:
        """The connected driver; raises UnavailableError when the server does not answer."""
        async with self._opening:
            if self._client is not None and self._has_given_up(self._client):
                _LOG.warning("queue_connection_replaced", seconds=GIVEN_UP_SECONDS)
                await self.close()
            if self._client is None or self._client.is_closed:
                self._client = await self._connect()
                self._lost_at = None
                self._lost.clear()
        client = self._client
        if not client.is_connected:
            await self._wait_for_reconnect(client)
        return client

    def _has_given_up(self, client: Client) -> bool:
        now = asyncio.get_running_loop().time()
        if client.is_connected:
            self._lost_at = None
        elif self._lost_at is None:
            self._lost_at = now
        return self._lost_at is not None and now - self._lost_at > GIVEN_UP_SECONDS

    async def jetstream(self) -> JetStreamContext:
        """JetStream on the connected driver."""
        client = await self.client()
        return client.jetstream(timeout=REQUEST_SECONDS_MAX)  # pyright: ignore[reportUnknownMemberType] half-typed driver

    async def unless_lost(self, work: Coroutine[object, object, Result]) -> Result:
        """What `work` answers; it is given up at once when the connection is lost meanwhile.

        The driver would go on waiting for an answer that only the lost connection could bring.
        Raises UnavailableError then; whether the server did what was asked is unknown.
        """
        task = asyncio.ensure_future(work)
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise unavailable()
        finally:
            lost.cancel()
            task.cancel()

    async def ping(self) -> None:
        """Return when the server answers."""
        client = await self.client()
        with stream_errors():
            await client.flush(timeout=CONNECT_SECONDS_MAX)

    async def close(self) -> None:
        """End the connection; what was published before is sent first."""
        client, self._client = self._client, None
        if client is None or client.is_closed:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await client.close()
        except (TimeoutError, OSError):
            return

    async def _connect(self) -> Client:
        endpoint = self._endpoint
        client = Client()
        with stream_errors():
            try:
                async with asyncio.timeout(CONNECT_SECONDS_MAX + 1):
                    await client.connect(
                        endpoint.url.reveal(),
                        name=self._name,
                        user=endpoint.user,
                        password=endpoint.password.reveal() if endpoint.password else None,
                        user_credentials=_credentials(endpoint),
                        connect_timeout=CONNECT_SECONDS_MAX,
                        reconnect_time_wait=RECONNECT_SECONDS,  # pyright: ignore[reportArgumentType] the driver sleeps any number of seconds
                        max_reconnect_attempts=-1,
                        ping_interval=PING_SECONDS,
                        max_outstanding_pings=2,
                        pending_size=PENDING_BYTES_MAX,
                        allow_reconnect=True,
                        error_cb=_log_error,
                        disconnected_cb=self._on_lost,
                        reconnected_cb=self._on_back,
                    )
                    for subject, heard in self._listeners:
                        await client.subscribe(  # pyright: ignore[reportUnknownMemberType] half-typed driver
                            subject, cb=_calling(heard)
                        )
            except BaseException:
                await client.close()
                raise
        return client

    async def _on_lost(self) -> None:
        self._lost.set()

    async def _on_back(self) -> None:
        self._lost.clear()

    async def _wait_for_reconnect(self, client: Client) -> None:
        async def reconnected() -> bool | None:
            return client.is_connected or None

        if not await poll(
            reconnected,
            every_seconds=_POLL_SECONDS,
            timeout_seconds=RECONNECT_WAIT_SECONDS_MAX,
        ):
            raise unavailable()


def _credentials(endpoint: NatsEndpoint) -> RawCredentials | Path | None:
    """How to sign in with a user JWT: both settings together win over the file [configuration 2].

    Raises MisconfiguredError when the installation cannot sign.
    """
    if endpoint.jwt is not None and endpoint.seed is not None:
        chosen: RawCredentials | Path | None = RawCredentials(
            f"-----BEGIN NATS USER JWT-----\n{endpoint.jwt.reveal()}\n"
            "------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{endpoint.seed.reveal()}\n"
            "------END USER NKEY SEED------\n"
        )
    else:
        chosen = endpoint.creds_file
    if chosen is not None and find_spec("nkeys") is None:
        raise MisconfiguredError(
            "NKEYS_MISSING",
            "signing in to NATS with credentials needs the package nkeys",
            hint="install it, or give user and password in nats.url",
        )
    return chosen


def _calling(heard: Callable[[bytes], None]) -> Callable[[Msg], Awaitable[None]]:
    async def call(message: Msg) -> None:
        heard(message.data)

    return call


async def _log_error(error: Exception) -> None:
    _LOG.debug("queue_connection_error", error=type(error).__name__)
