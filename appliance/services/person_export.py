"""Everything stored about one person, as lines of JSON: the answer to an access request.

Invariant: a line says in `record` what it is; events come last and are streamed, so a person of a
million events needs no memory. Whoever exports is in the audit log, the person's id is not: the log
outlives the person's data.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

import msgspec

from appliance.base.clock import Clock
from appliance.domain.access.callers import Actor
from appliance.domain.insights.spec import TimeRange
from appliance.domain.people.erasure import Subject, chunk_ids, take_events
from appliance.services.audit import AuditLog
from appliance.services.erasure import profile_not_found
from appliance.services.erasure_cleaning import is_about
from appliance.services.person_ids import EVERYTHING, find_named_person, resolve_person
from appliance.services.projects import project_not_found
from appliance.services.stores import Stores
from appliance.storage.clickhouse.client import ClickHouse
from appliance.storage.clickhouse.erasure import count_traces, find_sessions
from appliance.storage.clickhouse.event_export import ExportFormat, ExportQuery, stream_events
from appliance.storage.clickhouse.person_rows import stream_person_rows
from appliance.storage.postgres.erasure import count_person_rows
from appliance.storage.postgres.person_rows import list_person_rows
from appliance.storage.postgres.projects import find_project
from appliance.storage.streams.erasure import PROFILES_STREAM, PersonQueues
from appliance.storage.streams.publish import EVENTS_STREAM

_ALWAYS: Final = TimeRange(start_ms=-2_208_988_800_000, end_ms=10_413_791_999_000)
"""The years that the event store holds [ingestion 16.9]."""
_EVENT: Final = b'{"record":"event",'


class PersonExport:
    """The use-case behind `person export`; `events` is a patient connection."""

    def __init__(self, stores: Stores, events: ClickHouse, audit: AuditLog, clock: Clock) -> None:
        self._database = stores.postgres
        self._events = events
        self._queues = PersonQueues(stores.streams, stores.publisher)
        self._audit = audit
        self._clock = clock

    async def lines(self, project_id: str, id_: str, *, actor: Actor) -> AsyncGenerator[bytes]:
        """All of it, each line with its end.

        Raises NotFoundError (`PROJECT_NOT_FOUND`, `PROFILE_NOT_FOUND`), UnavailableError when a
        store does not answer to the end: then what was written is not all.
        """
        project = await find_project(self._database, project_id)
        if project is None:
            raise project_not_found(project_id)
        subject = await self._subject(project_id, id_)
        ids = subject.distinct_ids
        sessions = await find_sessions(self._events, project_id, ids)
        traces = await count_traces(self._events, project_id, ids, sessions)
        if not traces.total and not any(await count_person_rows(self._database, project_id, ids)):
            raise profile_not_found(id_)
        async with self._database.transaction() as transaction:
            await self._audit.record(
                transaction,
                actor,
                "person.export",
                org_id=project.org_id,
                project_id=project_id,
                subject_kind="person",
            )
        yield _line(
            {
                "record": "person",
                "project_id": project_id,
                "asked_for": id_,
                "ids": ids,
                "at": self._clock.now(),
            }
        )
        async for line in list_person_rows(self._database, project_id, ids):
            yield line + b"\n"
        async for piece in stream_person_rows(self._events, project_id, ids, sessions):
            yield piece
        async for line in self._dead_letters(subject):
            yield line
        async for line in self._all_events(subject):
            yield line

    async def _subject(self, project_id: str, id_: str) -> Subject:
        named = await find_named_person(self._database, self._events, project_id, id_)
        ids = await resolve_person(
            self._database,
            self._events,
            project_id,
            profile_id=named.profile_id,
            external_id=named.external_id,
            known=(id_,),
        )
        return Subject(
            project_id=project_id,
            profile_id=named.profile_id,
            external_id=named.external_id,
            distinct_ids=ids,
        )

    async def _dead_letters(self, subject: Subject) -> AsyncGenerator[bytes]:
        """What could not be stored and waits for somebody to look."""
        ids = frozenset(subject.distinct_ids)
        async for letter in self._queues.read(f"dlq-{EVENTS_STREAM}"):
            for row in take_events(letter.payload, subject.project_id, ids):
                text = row.decode(errors="replace")
                yield _line({"record": "dead letter", "of": letter.subject, "text": text})
        async for letter in self._queues.read(f"dlq-{PROFILES_STREAM}"):
            if is_about(letter, subject):
                yield _line(
                    {"record": "dead letter", "of": letter.subject, "bytes": letter.payload}
                )

    async def _all_events(self, subject: Subject) -> AsyncGenerator[bytes]:
        for group in chunk_ids(subject.distinct_ids):
            query = ExportQuery(
                project_id=subject.project_id,
                window=_ALWAYS,
                distinct_ids=group,
                condition=EVERYTHING,
            )
            pieces = stream_events(self._events, query, ExportFormat.JSONL)
            async for line in _whole_lines(pieces):
                yield _EVENT + line[1:]


async def _whole_lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    held = b""
    async for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if held:
        yield held + b"\n"


def _line(fields: dict[str, object]) -> bytes:
    return msgspec.json.encode(fields) + b"\n"
