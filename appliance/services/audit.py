"""Making entries of the audit log; services record them in the transaction of the act."""

from collections.abc import Mapping

from appliance.base.clock import Clock
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor
from appliance.storage.postgres.audit import AuditEntry, add_audit_entry
from appliance.storage.postgres.pool import Transaction


class AuditLog:
    """Records who did what, when, from where."""

    def __init__(self, clock: Clock, ids: IdMaker) -> None:
        self._clock = clock
        self._ids = ids

    async def record(
        self,
        transaction: Transaction,
        actor: Actor,
        action: str,
        *,
        org_id: str = "",
        project_id: str = "",
        subject_kind: str = "",
        subject_id: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        """Add one act to the log; it stands when the transaction is committed.

        `action` is lower-case words joined by dots, like `project.key.create`; never put a secret
        or token into `details`.
        """
        entry = AuditEntry(
            id=self._ids.make(),
            at=self._clock.now(),
            actor=actor,
            action=action,
            org_id=org_id,
            project_id=project_id,
            subject_kind=subject_kind,
            subject_id=subject_id,
            details=details or {},
        )
        await add_audit_entry(transaction, entry)

    def about(self, kind: str) -> "ProjectAudit":
        """The log of acts on one kind of thing in projects, like `cohort`."""
        return ProjectAudit(self, kind)


class ProjectAudit:
    """Records acts on things of one kind that belong to a project, as `cohort.create`."""

    def __init__(self, log: AuditLog, kind: str) -> None:
        self._log = log
        self._kind = kind

    async def record(
        self, transaction: Transaction, actor: Actor, act: str, project_id: str, subject_id: str
    ) -> None:
        """Add one act; it stands when the transaction is committed."""
        await self._log.record(
            transaction,
            actor,
            f"{self._kind}.{act}",
            project_id=project_id,
            subject_kind=self._kind,
            subject_id=subject_id,
        )
