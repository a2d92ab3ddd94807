"""Asking for the erasure of a person: the part that answers at once [profiles 8].

Invariant: an accepted request is a row of the ledger first and a message second, so a message that
is lost costs nothing but time: asking again, or the scheduler, publishes it once more. For one
person there is one open request, however often and at how many doors it is asked for.
"""

from collections import Counter
from typing import Final, NoReturn

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, ConflictError, NotFoundError, Resource
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor, ActorKind
from appliance.domain.ingest.blocks import COOKIELESS_PREFIX
from appliance.domain.people.erasure import ErasureStatus, ErasureView
from appliance.services.audit import AuditLog
from appliance.services.jobs.erasures import encode_erasure
from appliance.services.projects import project_not_found
from appliance.services.stores import Stores
from appliance.storage.clickhouse.erasure import count_events, find_canonical, has_activity
from appliance.storage.postgres.erasure import (
    LiveProfile,
    add_erasure,
    find_live_profile,
    find_unfinished,
    hide_profile,
    list_erasures,
    load_erasure,
    reopen_erasure,
)
from appliance.storage.postgres.projects import find_project
from appliance.storage.postgres.purge import StuckErasure
from appliance.storage.streams.erasure import ERASE_SUBJECT
from appliance.storage.streams.publish import Publisher

ATTEMPTS_MAX: Final = 3
LISTED_MAX: Final = 100
DEGRADED_METRIC: Final = "profiles.degraded_alias_erasure_total"


class AcceptedErasure(Struct, frozen=True, kw_only=True):
    """What a caller is told at once."""

    request_id: str
    status: ErasureStatus


class ErasureService:
    """Use-cases about erasure requests; `counts` is what the metrics show."""

    def __init__(self, stores: Stores, audit: AuditLog, *, clock: Clock, ids: IdMaker) -> None:
        self._database = stores.postgres
        self._events = stores.clickhouse
        # not the stores' own: erasing makes room, so it must work when there is none
        self._publisher = Publisher(stores.streams)
        self._audit = audit
        self._clock = clock
        self._ids = ids
        self.counts: Counter[tuple[str, str]] = Counter()

    async def delete_data_subject(
        self, project_id: str, external_id: str, *, actor: Actor
    ) -> AcceptedErasure:
        """Ask for erasure by external id, known or not [profiles 8.1].

        Raises NotFoundError (`PROFILE_NOT_FOUND`) for an empty id, ApplianceError (`INTERNAL`) when
        the request is kept but its message is not.
        """
        if not external_id:
            raise profile_not_found(external_id)
        again = await self._drive_again(project_id, external_id=external_id)
        if again is not None:
            return again
        profile = await find_live_profile(self._database, project_id, external_id=external_id)
        found = profile or LiveProfile(id="", external_id=external_id)
        return await self._request(project_id, found, actor=actor)

    async def delete_person(self, project_id: str, id_: str, *, actor: Actor) -> AcceptedErasure:
        """Ask for erasure by profile id, alias, external id or bare distinct id [profiles 8.2].

        Raises NotFoundError (`PROFILE_NOT_FOUND`), ApplianceError (`INTERNAL`) when an id cannot be
        looked up or belongs to a chain of aliases: then nothing is kept.
        """
        if not id_:
            raise profile_not_found(id_)
        again = await self._drive_again(project_id, profile_id=id_)
        if again is not None:
            return again
        profile = await find_live_profile(self._database, project_id, profile_id=id_)
        if profile is not None:
            return await self._request(project_id, profile, actor=actor)
        return await self._delete_by_other_id(project_id, id_, actor=actor)

    async def load(self, project_id: str, request_id: str) -> ErasureView:
        """A request of this project; raises NotFoundError (`DELETION_REQUEST_NOT_FOUND`)."""
        found = await load_erasure(self._database, request_id)
        if found is None or found.project_id != project_id:
            raise request_not_found(request_id)
        return found

    async def find(self, request_id: str) -> ErasureView:
        """A request of any project; raises NotFoundError (`DELETION_REQUEST_NOT_FOUND`)."""
        found = await load_erasure(self._database, request_id)
        if found is None:
            raise request_not_found(request_id)
        return found

    async def list_requests(self, project_id: str) -> tuple[ErasureView, ...]:
        """The newest hundred requests of a project."""
        return await list_erasures(self._database, project_id, limit=LISTED_MAX)

    async def _delete_by_other_id(
        self, project_id: str, id_: str, *, actor: Actor
    ) -> AcceptedErasure:
        canonical = await self._canonical(project_id, id_)
        if canonical and canonical != id_:
            found = await self._delete_canonical(project_id, canonical, actor=actor)
            if found is not None:
                return found
        profile = await find_live_profile(self._database, project_id, external_id=id_)
        if profile is not None:
            return await self.delete_data_subject(project_id, id_, actor=actor)
        again = await self._drive_again(project_id, external_id=id_)
        if again is not None:  # asked for by external id; the profile is hidden already
            return again
        if not await self._was_seen(project_id, id_):
            raise profile_not_found(id_)
        return await self._request(project_id, LiveProfile(id=id_, external_id=""), actor=actor)

    async def _delete_canonical(
        self, project_id: str, canonical: str, *, actor: Actor
    ) -> AcceptedErasure | None:
        """Erase whom an alias belongs to; None when they are erased already."""
        again = await self._drive_again(project_id, profile_id=canonical)
        if again is not None:
            return again
        profile = await find_live_profile(self._database, project_id, profile_id=canonical)
        if profile is not None:
            return await self._request(project_id, profile, actor=actor)
        if await self._canonical(project_id, canonical):
            self.counts[DEGRADED_METRIC, "failed_closed"] += 1
            raise ApplianceError(
                "INTERNAL",
                "the person cannot be told for certain",
                hint="the id is an alias of an alias; erase by external id",
            )
        self.counts[DEGRADED_METRIC, "residual_cleanup"] += 1
        return None

    async def _drive_again(
        self, project_id: str, *, profile_id: str = "", external_id: str = ""
    ) -> AcceptedErasure | None:
        """Publish the open or failed request of these ids again; None when there is none."""
        found = await find_unfinished(
            self._database, project_id, profile_id=profile_id, external_id=external_id
        )
        if found is None:
            return None
        status = found.status
        if status is ErasureStatus.FAILED:
            await reopen_erasure(self._database, found.id)
            status = ErasureStatus.PENDING
        await self._publish(found.id, project_id, found.profile_id, found.external_id)
        return AcceptedErasure(request_id=found.id, status=status)

    async def _request(
        self, project_id: str, subject: LiveProfile, *, actor: Actor
    ) -> AcceptedErasure:
        """The prelude [profiles 8.4]; who loses a race gets the winner's request."""
        project = await find_project(self._database, project_id)
        if project is None:
            raise project_not_found(project_id)
        for _ in range(ATTEMPTS_MAX):
            request_id = self._ids.make()
            try:
                await self._keep(request_id, project_id, project.org_id, subject, actor)
            except ConflictError:
                again = await self._drive_again(
                    project_id, profile_id=subject.id, external_id=subject.external_id
                )
                if again is not None:
                    return again
                continue  # the other one was completed meanwhile
            await self._publish(request_id, project_id, subject.id, subject.external_id)
            return AcceptedErasure(request_id=request_id, status=ErasureStatus.PENDING)
        raise ConflictError("ABORTED", "the person is being erased again and again")

    async def _keep(
        self, request_id: str, project_id: str, org_id: str, subject: LiveProfile, actor: Actor
    ) -> None:
        now = self._clock.now()
        async with self._database.transaction() as transaction:
            await add_erasure(
                transaction,
                request_id=request_id,
                project_id=project_id,
                profile_id=subject.id,
                external_id=subject.external_id,
                requested_by=actor.id if actor.kind is ActorKind.CUSTOMER and actor.id else None,
                now=now,
            )
            if subject.id:
                await hide_profile(transaction, project_id, subject.id, now=now)
            await self._audit.record(
                transaction,
                actor,
                "person.erase",
                org_id=org_id,
                project_id=project_id,
                subject_kind="erasure",
                subject_id=request_id,
            )

    async def _publish(
        self, request_id: str, project_id: str, profile_id: str, external_id: str
    ) -> None:
        try:
            await publish_erasure(
                self._publisher,
                StuckErasure(
                    id=request_id,
                    project_id=project_id,
                    profile_id=profile_id,
                    external_id=external_id,
                ),
            )
        except ApplianceError as error:
            raise ApplianceError(
                "INTERNAL",
                "the erasure is recorded, but its worker could not be told",
                hint="ask again; the scheduler does so by itself within two hours",
            ) from error

    async def _canonical(self, project_id: str, id_: str) -> str:
        try:
            return await find_canonical(self._events, project_id, id_)
        except ApplianceError as error:
            _cannot_tell(error)

    async def _was_seen(self, project_id: str, id_: str) -> bool:
        try:
            if id_.startswith(COOKIELESS_PREFIX):
                return await count_events(self._events, project_id, (id_,)) > 0
            return await has_activity(self._events, project_id, id_)
        except ApplianceError as error:
            _cannot_tell(error)


async def publish_erasure(publisher: Publisher, erasure: StuckErasure) -> None:
    """Tell the compliance worker; twice is harmless."""
    await publisher.publish(ERASE_SUBJECT, encode_erasure(erasure), message_id=None, headers={})


def _cannot_tell(error: ApplianceError) -> NoReturn:
    """Never "not found" when it could not be looked up [profiles 8.2]."""
    raise ApplianceError(
        "INTERNAL", "whether there is such a person cannot be looked up now", hint="ask again"
    ) from error


def profile_not_found(name: str) -> NotFoundError:
    """No such person in this project."""
    return NotFoundError(
        "PROFILE_NOT_FOUND",
        "there is no such person",
        resource=Resource(kind="profile", name=name),
    )


def request_not_found(request_id: str) -> NotFoundError:
    """No erasure of this id that the caller may see."""
    return NotFoundError(
        "DELETION_REQUEST_NOT_FOUND",
        "there is no such request",
        resource=Resource(kind="deletion_request", name=request_id),
    )
