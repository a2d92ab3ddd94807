"""Sends a story of invented events through the real HTTP API, like an SDK would.

Invariant: at most `REQUESTS_MAX` batches are on the way, and a batch that the API could not take is
sent again a bounded number of times: the API counts a repeated batch once.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import httpx
import msgspec

from appliance.base.errors import InvalidInputError, UnavailableError
from appliance.config.secrets import Secret
from appliance.domain.demo import Story, tell
from appliance.domain.ingest.event import Event, PropertyValue

BATCH_EVENTS: Final = 500
REQUESTS_MAX: Final = 3
ATTEMPTS_MAX: Final = 12
RETRY_SECONDS: Final = 0.5
"""The first pause; each is longer by as much, so a busy or restarting API has half a minute."""
REQUEST_SECONDS_MAX: Final = 30
_HTTP_OK: Final = 200
BATCH_CREATE: Final = "/sdk.events.v1.EventsService/BatchCreate"


class SentReport(msgspec.Struct, frozen=True, kw_only=True):
    """How many events were sent, and how many of them the API took."""

    sent: int
    accepted: int


class _Answer(msgspec.Struct, frozen=True):
    accepted: int


async def send_story(
    url: str,
    key: Secret,
    story: Story,
    *,
    progress: Callable[[int], None],
    trust: ssl.SSLContext | None = None,
) -> SentReport:
    """Send the story to the API at `url`; `progress` hears the number of events sent so far.

    `trust` says which certificate is accepted; the machine's authorities without it.
    Raises InvalidInputError when the API refuses it and UnavailableError when it does not answer.
    """
    verify = trust or True
    async with httpx.AsyncClient(
        base_url=url, timeout=REQUEST_SECONDS_MAX, verify=verify
    ) as client:

        async def post(batch: list[Event]) -> int:
            return await _post(client, url, key, batch)

        return await _send_all(post, _batches(tell(story)), progress)


async def _send_all(
    post: Callable[[list[Event]], Awaitable[int]],
    batches: Iterator[list[Event]],
    progress: Callable[[int], None],
) -> SentReport:
    sent = accepted = 0

    async def work() -> None:
        nonlocal sent, accepted
        for batch in batches:
            # Two statements: `accepted += await …` would read the sum before it waits.
            taken = await post(batch)
            accepted += taken
            sent += len(batch)
            progress(sent)

    async with asyncio.TaskGroup() as group:
        for _ in range(REQUESTS_MAX):
            group.create_task(work())
    return SentReport(sent=sent, accepted=accepted)


async def _post(client: httpx.AsyncClient, url: str, key: Secret, batch: list[Event]) -> int:
    headers = {"content-type": "application/json", "x-api-key": key.reveal()}
    body = encode_batch(batch)
    reason = "no answer"
    for attempt in range(ATTEMPTS_MAX):
        if attempt:
            await asyncio.sleep(RETRY_SECONDS * attempt)
        try:
            answer = await client.post(BATCH_CREATE, headers=headers, content=body)
        except httpx.TransportError as error:
            reason = type(error).__name__
            continue
        if answer.status_code == _HTTP_OK:
            return msgspec.json.decode(answer.content, type=_Answer).accepted
        reason = f"HTTP status {answer.status_code}"
        if answer.is_client_error:
            raise InvalidInputError(
                "EVENTS_REFUSED",
                f"{url} refused the events with {reason}",
                hint="check the key and the URL",
            )
    raise UnavailableError(
        "API_SILENT",
        f"{url} did not take the events: {reason}",
        hint="see `pug-appliance status` and `pug-appliance logs api`",
    )


def encode_batch(events: Iterable[Event]) -> bytes:
    """The events as a protobuf-JSON `BatchCreateRequest` [sdk-protocol 6]."""
    return msgspec.json.encode({"events": [_encode_event(event) for event in events]})


def _encode_event(event: Event) -> dict[str, object]:
    assert event.occur_time_ms is not None
    occurred = datetime.fromtimestamp(event.occur_time_ms / 1000, tz=UTC)
    return {
        "eventId": event.event_id,
        "kind": event.kind,
        "occurTime": occurred.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "distinctId": event.distinct_id,
        "sessionId": event.session_id,
        "autoProperties": {
            name: _encode_value(value) for name, value in event.auto_properties.items()
        },
        "customProperties": {
            name: _encode_value(value) for name, value in event.custom_properties.items()
        },
    }


def _encode_value(value: PropertyValue) -> dict[str, object]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    assert isinstance(value, str), "a story has no other values"
    return {"stringValue": value}


def _batches(events: Iterator[Event]) -> Iterator[list[Event]]:
    while batch := list(islice(events, BATCH_EVENTS)):
        yield batch
