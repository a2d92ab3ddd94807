"""SQL for experts: one query about the rows of one project, answered as a stream.

Invariant: who asked what stands in the audit log before the engine hears of it; refused texts do
not, they never ran. So many queries run at once in a process and so many of one project, and no
more: whoever comes too many is told to come again. Where the walls are: `storage/clickhouse/
expert_sql.py`.
"""

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from appliance.base.errors import ExhaustedError, NotFoundError
from appliance.domain.access.callers import Actor
from appliance.domain.expert_sql.answers import Form, Scope
from appliance.services.audit import AuditLog
from appliance.storage.clickhouse.expert_sql import ExpertSql
from appliance.storage.postgres.pool import Postgres
from appliance.storage.postgres.projects import ProjectRow, find_project

AT_ONCE_MAX: Final = 4
OF_A_PROJECT_MAX: Final = 2
RETRY_SECONDS: Final = 2.0
AUDITED_CHARACTERS_MAX: Final = 2000


class ExpertSqlService:
    """Asks queries that people wrote."""

    def __init__(self, store: ExpertSql, database: Postgres, audit: AuditLog) -> None:
        self._store = store
        self._database = database
        self._audit = audit
        self._running: Counter[str] = Counter()

    @asynccontextmanager
    async def ask(
        self, actor: Actor, *, project_id: str, sql: str, form: Form, org_id: str = ""
    ) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """The bytes of the answer, piece by piece; leaving early ends the query.

        Raises InvalidInputError (`QUERY_REFUSED`, `QUERY_INVALID`), ExhaustedError
        (`QUERY_TOO_LARGE`, `QUERIES_AT_LIMIT`), TimedOutError, UnavailableError.
        """
        with self._place(project_id):
            query = await self._store.admit(sql)
            await self._record(actor, org_id, project_id, sql, form)
            async with self._store.answer(Scope(project_id), query, form) as pieces:
                yield pieces

    async def require_project(self, project_id: str) -> ProjectRow:
        """The project; raises NotFoundError unless there is such a one."""
        found = await find_project(self._database, project_id)
        if found is None:
            raise NotFoundError(
                "PROJECT_NOT_FOUND",
                "there is no such project",
                hint="see `pug-appliance project list`",
            )
        return found

    async def close(self) -> None:
        """Let go of the event store."""
        await self._store.close()

    @contextmanager
    def _place(self, project_id: str) -> Generator[None]:
        full = self._running.total() >= AT_ONCE_MAX
        if full or self._running[project_id] >= OF_A_PROJECT_MAX:
            raise ExhaustedError(
                "QUERIES_AT_LIMIT",
                f"{OF_A_PROJECT_MAX} queries of a project run at once; ask again in a moment",
                retry_seconds=RETRY_SECONDS,
            )
        self._running[project_id] += 1
        try:
            yield
        finally:
            self._running[project_id] -= 1
            if not self._running[project_id]:
                del self._running[project_id]

    async def _record(
        self, actor: Actor, org_id: str, project_id: str, sql: str, form: Form
    ) -> None:
        async with self._database.transaction() as transaction:
            await self._audit.record(
                transaction,
                actor,
                "project.query.run",
                org_id=org_id,
                project_id=project_id,
                details={
                    "sql": sql[:AUDITED_CHARACTERS_MAX],
                    "sha256": hashlib.sha256(sql.encode(errors="replace")).hexdigest(),
                    "format": form.value,
                },
            )
