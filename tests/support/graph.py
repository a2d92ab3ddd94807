"""The GraphQL face as its callers see it: HTTP requests into the real application.

Invariant: `Graph.ask` speaks JSON over ASGI and nothing else; whoever asks is named by headers.
`Graph.statements` counts what really arrives at PostgreSQL, by the driver's own log.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from appliance.api.app import create_app
from appliance.config.model import Settings
from appliance.storage.postgres.projects import KeyKind
from tests.support.control import ADDRESS, ControlStack, Person

PATH: Final = "/graphql"
Json = dict[str, Any]  # answers as they are on the wire


class Graph:
    """Asks the graph of one application."""

    def __init__(self, control: ControlStack, client: httpx.AsyncClient) -> None:
        self.control = control
        self.client = client

    async def post(
        self,
        query: object,
        variables: Mapping[str, object] | None = None,
        *,
        who: Person | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One question as a person, with a key, or as nobody."""
        sent = dict(headers or {})
        if who is not None:
            sent["authorization"] = f"Bearer {who.token}"
        if key is not None:
            sent["x-api-key"] = key
        body = {"query": query, "variables": dict(variables or {})}
        return await self.client.post(PATH, json=body, headers=sent)

    async def ask(
        self,
        query: str,
        variables: Mapping[str, object] | None = None,
        *,
        who: Person | None = None,
        key: str | None = None,
    ) -> Json:
        """The data of an answer without errors."""
        answer = await self.post(query, variables, who=who, key=key)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        assert "errors" not in told, told["errors"]
        return told["data"]

    async def reasons(
        self,
        query: str,
        variables: Mapping[str, object] | None = None,
        *,
        who: Person | None = None,
        key: str | None = None,
    ) -> list[str]:
        """The reasons of the errors of an answer, in their order."""
        told = (await self.post(query, variables, who=who, key=key)).json()
        return [error["extensions"]["reason"] for error in told["errors"]]

    async def make_key(self, project: str) -> str:
        """A private key of a project."""
        made = await self.control.services.key_chain.create_key(project, KeyKind.PRIVATE)
        return made.key.reveal()

    @asynccontextmanager
    async def statements(self) -> AsyncGenerator[list[str]]:
        """What the driver sends to PostgreSQL while the block runs, its housekeeping left out."""
        seen: list[str] = []

        def note(record: Any) -> None:
            if "pg_advisory_unlock_all" not in record.query:
                seen.append(record.query)

        async with self._every_connection() as connections:
            for each in connections:
                each.add_query_logger(note)
        try:
            yield seen
        finally:
            async with self._every_connection() as connections:
                for each in connections:
                    each.remove_query_logger(note)

    @asynccontextmanager
    async def _every_connection(self) -> AsyncGenerator[list[Any]]:
        pool: Any = await self.control.database._opened()  # pyright: ignore[reportPrivateUsage] # the pool itself
        taken = [await pool.acquire() for _ in range(pool.get_max_size())]
        try:
            yield taken
        finally:
            for each in taken:
                await pool.release(each)


@asynccontextmanager
async def open_graph(control: ControlStack, settings: Settings) -> AsyncGenerator[Graph]:
    """A client of an application in front of running services."""
    application: Any = create_app(control.services, settings, clock=control.clock)
    transport = httpx.ASGITransport(application, client=(ADDRESS, 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://pug.test") as client:
        yield Graph(control, client)
