"""The use-cases an operator has on the command line, over stores opened for one command.

Invariant: what `open_desk` opened is closed when its block ends, whatever happened in it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from msgspec import Struct

from appliance.base.ids import IdMaker
from appliance.config.endpoints import Endpoints
from appliance.services.accounts import AccountsService
from appliance.services.keys import KeysService
from appliance.services.projects import ProjectsService
from appliance.storage.postgres.pool import Postgres
from appliance.storage.streams.connection import Streams
from appliance.storage.streams.deadletters import DeadLetters
from appliance.storage.streams.publish import Publisher


class Desk(Struct, frozen=True, kw_only=True):
    """What an operator works with."""

    accounts: AccountsService
    projects: ProjectsService
    keys: KeysService
    dead_letters: DeadLetters


@asynccontextmanager
async def open_desk(endpoints: Endpoints) -> AsyncGenerator[Desk]:
    """The use-cases over stores that are connected when first used."""
    ids = IdMaker()
    database = Postgres(endpoints.postgres)
    streams = Streams(endpoints.nats, name="pug-command-line")
    try:
        yield Desk(
            accounts=AccountsService(database, ids),
            projects=ProjectsService(database, ids),
            keys=KeysService(database, Publisher(streams), ids),
            dead_letters=DeadLetters(streams),
        )
    finally:
        await streams.close()
        await database.close()
