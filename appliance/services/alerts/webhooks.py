"""Posts a message to a webhook inside the network.

Invariant: nothing leaves for a host that the operator did not list, whatever its name resolves to:
the name is resolved here, its addresses are checked, and the connection goes to a checked address,
so that nothing can change in between. No redirect is followed, no proxy of the environment is
asked, one deadline covers all, and of the answer only the status is read.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from ssl import SSLContext
from typing import Final

import httpx
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, UnavailableError, UnmetError
from appliance.domain.alerts.destinations import (
    AllowList,
    Destination,
    parse_destination,
    require_listed,
)
from appliance.domain.alerts.messages import (
    DELIVERY_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Verdict,
    judge_status,
    sign,
)
from appliance.services.trust import client_context
from appliance.version import RELEASE

ATTEMPT_SECONDS_MAX: Final = 10.0
ADDRESSES_TRIED_MAX: Final = 3

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name; raises OSError."""


class Post(Struct, frozen=True, kw_only=True):
    """What is posted where; the secret signs it."""

    url: str
    secret: str
    delivery_id: str
    body: bytes


class WebhookSender:
    """Posts to listed hosts."""

    def __init__(
        self,
        allowed: AllowList,
        clock: Clock,
        *,
        ca_file: Path | None = None,
        resolve: Resolve | None = None,
        seconds_max: float = ATTEMPT_SECONDS_MAX,
    ) -> None:
        self._allowed = allowed
        self._clock = clock
        self._ca_file = ca_file
        self._resolve = resolve or look_up
        self._seconds_max = seconds_max
        self._trust: SSLContext | None = None

    async def send(self, post: Post) -> None:
        """Hand a message over; returning means that the receiver took it.

        Raises UnmetError for what will not change by itself, UnavailableError for what may.
        """
        destination = parse_destination(post.url)
        require_listed(self._allowed, destination)
        try:
            async with asyncio.timeout(self._seconds_max):
                addresses = await self._addresses(destination)
                status = await self._post(post, destination, addresses)
        except TimeoutError as error:
            raise _unavailable("no answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _unavailable(f"the connection failed ({type(error).__name__})") from error
        match judge_status(status):
            case Verdict.SENT:
                return
            case Verdict.RETRY:
                raise _unavailable(f"the receiver answered {status}")
            case Verdict.GIVEN_UP:
                raise _refused("WEBHOOK_REFUSED", f"the receiver answered {status}")

    async def _addresses(self, destination: Destination) -> Sequence[str]:
        """Where to connect; raises UnmetError when the name leads nowhere it may."""
        found = await self._resolve(destination.host, destination.port)
        reachable = self._allowed.reachable(destination, found)
        if not reachable:
            raise _refused(
                "WEBHOOK_ADDRESS_REFUSED",
                "the name of the host leads to this machine or to its link, which is not listed",
            )
        return reachable[:ADDRESSES_TRIED_MAX]

    async def _post(self, post: Post, destination: Destination, addresses: Sequence[str]) -> int:
        """The status of the answer; an address that takes no connection is followed by the next."""
        async with httpx.AsyncClient(
            verify=self._trusted(),
            trust_env=False,
            follow_redirects=False,
            timeout=self._seconds_max,
        ) as client:
            for address in addresses[:-1]:
                try:
                    return await self._attempt(client, post, destination, address)
                except httpx.ConnectError:
                    continue
            return await self._attempt(client, post, destination, addresses[-1])

    async def _attempt(
        self, client: httpx.AsyncClient, post: Post, destination: Destination, address: str
    ) -> int:
        second = int(self._clock.now().timestamp())
        host = f"[{address}]" if ":" in address else address
        async with client.stream(
            "POST",
            f"{destination.scheme}://{host}:{destination.port}{destination.target}",
            headers={
                "Host": destination.authority,
                "Content-Type": "application/json",
                "User-Agent": f"pug-appliance/{RELEASE}",
                DELIVERY_HEADER: post.delivery_id,
                TIMESTAMP_HEADER: str(second),
                SIGNATURE_HEADER: sign(post.secret, post.body, second=second),
            },
            content=post.body,
            extensions={"sni_hostname": destination.host},
        ) as answer:
            return answer.status_code

    def _trusted(self) -> SSLContext:
        if self._trust is None:
            self._trust = client_context(self._ca_file)
        return self._trust


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host by the resolver of this machine; raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[4][0]) for address in found))


def _unavailable(remark: str) -> ApplianceError:
    return UnavailableError(
        "WEBHOOK_UNAVAILABLE", remark, hint="check the receiver and network.outgoing"
    )


def _refused(reason: str, remark: str) -> ApplianceError:
    return UnmetError(reason, remark)
