"""Taking a person's messages off the queue and out of the dead letters.

Invariant: a message of the events queue goes only when all of it is the person's and all of it is
stored; a dead letter that holds others' events too is kept anew without the person's first. Two
erasures never clean at once, else each would keep what the other takes out.
"""

import asyncio
from typing import Final

from msgspec import Struct

from appliance.domain.people.erasure import (
    QueueMarks,
    StreamMark,
    Subject,
    mentions,
    split_events,
)
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.workers.compliance.v1.compliance_pb import EraseMessage
from appliance.gen.workers.profiles.v1.profiles_pb import ProfileAliasMessage, ProfileUpsertMessage
from appliance.storage.streams.erasure import (
    COMPLIANCE_STREAM,
    PROFILES_STREAM,
    PersonQueues,
    Waiting,
)
from appliance.storage.streams.publish import EVENTS_STREAM

_DEAD: Final = "dlq-"


class Cleaned(Struct, frozen=True, kw_only=True):
    """What was removed; `mixed` messages stay, because they hold others' events too."""

    queued: int = 0
    dead_letters: int = 0
    mixed: int = 0


class PersonCleaner:
    """Removes messages of a person."""

    def __init__(self, queues: PersonQueues) -> None:
        self._queues = queues
        self._one_at_a_time = asyncio.Lock()

    async def clean(self, subject: Subject, marks: QueueMarks) -> Cleaned:
        """Remove everything of a person up to the marks, and every dead letter."""
        async with self._one_at_a_time:
            dead = await self._clean_dead_events(subject)
            for stream in (PROFILES_STREAM, COMPLIANCE_STREAM):
                dead += await self._clean_messages(_DEAD + stream, subject)
            queued, mixed = await self._clean_events(subject, marks.events)
            queued += await self._clean_messages(PROFILES_STREAM, subject)
        return Cleaned(queued=queued, dead_letters=dead, mixed=mixed)

    async def _clean_events(self, subject: Subject, mark: StreamMark) -> tuple[int, int]:
        ids = frozenset(subject.distinct_ids)
        whole: list[int] = []
        mixed = 0
        until = await self._queues.place_of(EVENTS_STREAM, mark)
        async for message in self._queues.read(EVENTS_STREAM, until=until):
            split = split_events(message.payload, subject.project_id, ids)
            if split.theirs and split.others:
                mixed += 1
            elif split.theirs:
                whole.append(message.sequence)
        for sequence in whole:
            await self._queues.remove(EVENTS_STREAM, sequence)
        return len(whole), mixed

    async def _clean_dead_events(self, subject: Subject) -> int:
        ids = frozenset(subject.distinct_ids)
        count = 0
        async for letter in self._queues.read(_DEAD + EVENTS_STREAM):
            split = split_events(letter.payload, subject.project_id, ids)
            if not split.theirs:
                continue
            if split.others:
                await self._queues.publish_remainder(letter, b"\n".join(split.others) + b"\n")
            await self._queues.remove(_DEAD + EVENTS_STREAM, letter.sequence)
            count += 1
        return count

    async def _clean_messages(self, stream: str, subject: Subject) -> int:
        """Messages of one person each; those of a live stream only when they were handled."""
        handled = None if stream.startswith(_DEAD) else await self._queues.handled_profiles()
        found = [
            message.sequence
            async for message in self._queues.read(stream)
            if (handled is None or message.sequence <= handled.get(message.subject, 0))
            and is_about(message, subject)
        ]
        for sequence in found:
            await self._queues.remove(stream, sequence)
        return len(found)


def is_about(message: Waiting, subject: Subject) -> bool:
    """Whether a message of a profile or an erasure is about the person."""
    ids = frozenset(subject.distinct_ids)
    try:
        project, named = names_in(message.subject.removeprefix("dlq."), message.payload)
    except Exception:  # noqa: BLE001 whatever is wrong with it, it may hold the person's data
        return mentions(message.payload, subject.project_id, ids)
    return project == subject.project_id and bool(named & ids)


def names_in(subject: str, payload: bytes) -> tuple[str, frozenset[str]]:
    """The project and the ids of whom a message is about; raises ValueError when unreadable.

    An alias in it does not count: it may have moved to somebody else, whose message it is then.
    """
    match subject:
        case "profiles.identify":
            identify = ProfileIdentifyMessage.from_binary(payload)
            return identify.project_id, frozenset((identify.external_id,))
        case "profiles.alias":
            alias = ProfileAliasMessage.from_binary(payload)
            return alias.project_id, frozenset((alias.profile_id, alias.external_id))
        case "profiles.upsert":
            upsert = ProfileUpsertMessage.from_binary(payload)
            return upsert.project_id, frozenset((upsert.profile_id, upsert.external_id))
        case "compliance.erase":
            erase = EraseMessage.from_binary(payload)
            return erase.project_id, frozenset((erase.profile_id, erase.external_id))
        case _:
            raise ValueError(subject)
