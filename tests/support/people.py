"""People as the workers leave them in the event store, and the calls that read them.

Invariant: rows go through the same tables and views as in production; nothing is prepared for a
reader. Versions rise with every row, as the relational store's sequence makes them.
"""

import itertools
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from protobuf import Message

from appliance.domain.access.roles import Role
from appliance.gen.shared.profiles.v1.profiles_pb import (
    GetByExternalIdRequest,
    GetRequest,
    ListRequest,
    ListResponse,
    Profile,
)
from appliance.storage.postgres.projects import KeyKind
from tests.support.control import ControlStack, Person

SERVICE: Final = "shared.profiles.v1.ProfilesService"
NOON: Final = datetime(2026, 5, 10, 12, tzinfo=UTC)


class PeopleWorld:
    """A project, somebody who may read it, and its event store."""

    def __init__(self, control: ControlStack, org: str, project: str, person: Person) -> None:
        self.control = control
        self.org = org
        self.project = project
        self.person = person
        self.store = control.services.stores.clickhouse
        self._versions = itertools.count(1)

    async def add_profile(
        self,
        profile_id: str,
        external_id: str = "",
        *,
        properties: Mapping[str, object] | str | None = None,
        deleted: bool = False,
        created: datetime = NOON,
        updated: datetime | None = None,
        project: str | None = None,
        version: int | None = None,
    ) -> None:
        """One row of the read model, as the upsert worker writes it."""
        text = properties if isinstance(properties, str) else json.dumps(properties or {})
        await self._insert(
            "profiles",
            {
                "project_id": project or self.project,
                "id": profile_id,
                "external_id": external_id,
                "properties": text,
                "deleted": deleted,
                "create_time": _text(created),
                "update_time": _text(updated or created),
                "version": next(self._versions) if version is None else version,
            },
        )

    async def add_alias(
        self,
        alias_id: str,
        profile_id: str,
        *,
        external_id: str = "",
        project: str | None = None,
        version: int | None = None,
    ) -> None:
        """One row of the read model, as the alias worker writes it."""
        await self._insert(
            "profile_aliases",
            {
                "project_id": project or self.project,
                "alias_id": alias_id,
                "profile_id": profile_id,
                "external_id": external_id,
                "version": next(self._versions) if version is None else version,
            },
        )

    async def store_events(self, rows: bytes) -> None:
        """Rows of `events` as they are."""
        if rows:
            await self.store.insert_ndjson("events", [rows], {})

    async def add_events(self, *events: Mapping[str, object], project: str | None = None) -> None:
        """Rows of `events`; what is left out is made up. The roll-ups follow by themselves."""
        rows = [
            {
                "event_id": str(uuid.uuid4()),
                "project_id": project or self.project,
                "session_id": str(uuid.UUID(int=1)),
                "kind": "page_view",
                "occur_time": _text(NOON),
                **event,
            }
            for event in events
        ]
        body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        await self.store.insert_ndjson("events", [body], {})

    async def seen(self, *distinct_ids: str, project: str | None = None) -> None:
        """One page view of each of these visitors, a second apart."""
        await self.add_events(
            *(
                {"distinct_id": name, "occur_time": _text(NOON + timedelta(seconds=number))}
                for number, name in enumerate(distinct_ids)
            ),
            project=project,
        )

    async def call(self, path: str, message: Message, form: str = "proto") -> Any:
        """A call by the world's person for the world's project."""
        return await self.control.call(
            path, message, token=self.person.token, project=self.project, form=form
        )

    async def get(self, person_id: str, form: str = "proto") -> Profile:
        answer = await self.call(f"{SERVICE}/Get", GetRequest(id=person_id), form)
        return answer.profile

    async def get_external(self, external_id: str, form: str = "proto") -> Profile:
        request = GetByExternalIdRequest(external_id=external_id)
        answer = await self.call(f"{SERVICE}/GetByExternalId", request, form)
        return answer.profile

    async def pages(
        self, request: ListRequest | None = None, form: str = "proto"
    ) -> list[ListResponse]:
        """Every message of `List`."""
        return await self.control.call_stream(
            f"{SERVICE}/List",
            request or ListRequest(),
            token=self.person.token,
            project=self.project,
            form=form,
        )

    async def list(
        self, request: ListRequest | None = None, form: str = "proto"
    ) -> Sequence[Profile]:
        """Everybody in all messages of `List`."""
        return [one for page in await self.pages(request, form) for one in page.profiles]

    async def make_keys(self) -> tuple[str, str]:
        """A private and a public key of the project."""
        keys = self.control.services.control.api_keys
        made = [
            await keys.create_key(self.project, kind) for kind in (KeyKind.PRIVATE, KeyKind.PUBLIC)
        ]
        private, public = (one.key.reveal() for one in made)
        return private, public

    async def _insert(self, table: Any, row: Mapping[str, object]) -> None:
        await self.store.insert_ndjson(table, [json.dumps(row).encode() + b"\n"], {})


async def make_people_world(control: ControlStack, role: Role = Role.VIEWER) -> PeopleWorld:
    """A fresh organisation with a project and a member of this role."""
    org = await control.make_org()
    person = await control.make_member(role, org)
    project = await control.make_project(org)
    return PeopleWorld(control, org, project, person)


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
