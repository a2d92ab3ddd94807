"""Cohorts: saved, changed, counted, listed (docs/cohorts.md).

Invariant: a cohort of another project does not exist. Whatever is saved can be asked: rules are
resolved and planned before they are stored, and with them every cohort of the project that may lead
to them, while nobody else changes one.
"""

from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import (
    ConflictError,
    ExhaustedError,
    InvalidInputError,
    Resource,
    UnmetError,
)
from appliance.base.ids import IdMaker
from appliance.domain.access.callers import Actor
from appliance.domain.cohorts.cohort import (
    COHORTS_MAX,
    LIST_IDS_MAX,
    CohortContent,
    IdList,
    Rules,
    named_cohorts,
)
from appliance.domain.cohorts.resolve import (
    Moment,
    cohort_not_found,
    require_small,
    resolve_cohort,
    resolve_crowd,
)
from appliance.domain.cohorts.wire import decode_rules, encode_rules, parse_rules
from appliance.domain.insights.filters import Condition, plan_crowd
from appliance.domain.insights.spec import Crowd
from appliance.domain.insights.weight import Weight
from appliance.gen.appliance.cohorts.v1.cohorts_pb import CohortRules
from appliance.services.audit import AuditLog
from appliance.services.cohort_lookup import CohortLookup
from appliance.services.question_slots import QuestionSlots
from appliance.storage.clickhouse.insights.members import ClickHouseMembers, MemberRow
from appliance.storage.postgres.cohorts import (
    CohortRow,
    add_cohort,
    add_ids,
    delete_cohort,
    find_cohort,
    find_user,
    hold_rules,
    list_cohorts,
    remove_ids,
    save_cohort,
    touch_cohort,
)
from appliance.storage.postgres.pool import Postgres, Transaction

PAGE_MEMBERS: Final = 100
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEW: Final = ""
"""Stands for the id of a cohort that has none yet."""


class MemberPage(Struct, frozen=True, kw_only=True):
    """Some people of a cohort; the token is empty at the end."""

    members: tuple[MemberRow, ...]
    next_token: str


class CohortsService:
    """Use-cases about cohorts."""

    def __init__(
        self,
        database: Postgres,
        members: ClickHouseMembers,
        audit: AuditLog,
        *,
        clock: Clock,
        ids: IdMaker,
        slots: QuestionSlots | None = None,
    ) -> None:
        self._database = database
        self._members = members
        self._audit = audit.about("cohort")
        self._clock = clock
        self._ids = ids
        self._slots = slots or QuestionSlots()
        self.lookup = CohortLookup(database)

    async def create(
        self,
        project_id: str,
        *,
        display_name: str,
        description: str,
        content: CohortRules | Sequence[str],
        actor: Actor,
    ) -> CohortRow:
        """Save a new cohort by rules, or as a list of ids.

        Raises InvalidInputError (`INVALID_COHORT`), NotFoundError (`COHORT_NOT_FOUND`) for rules
        that name a cohort there is not, ConflictError (`COHORT_NAME_CONFLICT`), ExhaustedError.
        """
        cohort_id = self._ids.make()
        async with self._database.transaction() as transaction:
            stored = await hold_rules(transaction, project_id)
            if len(stored) >= COHORTS_MAX:
                raise _exhausted(f"a project has at most {COHORTS_MAX} cohorts")
            rules = content if isinstance(content, CohortRules) else None
            if rules is not None:
                self._require_sound(_NEW, rules, stored)
            await _naming(
                add_cohort(
                    transaction,
                    cohort_id,
                    project_id,
                    display_name=display_name,
                    description=description,
                    rules=None if rules is None else encode_rules(rules),
                )
            )
            if not isinstance(content, CohortRules):
                await add_ids(transaction, project_id, cohort_id, content)
            await self._audit.record(transaction, actor, "create", project_id, cohort_id)
            return await _read(transaction, project_id, cohort_id)

    async def get(self, project_id: str, cohort_id: str) -> CohortRow:
        """A cohort; raises NotFoundError (`COHORT_NOT_FOUND`)."""
        return await _read(self._database, project_id, cohort_id)

    async def list_all(self, project_id: str) -> tuple[CohortRow, ...]:
        """All cohorts of a project by name."""
        return await list_cohorts(self._database, project_id, limit=COHORTS_MAX)

    async def update(
        self,
        project_id: str,
        cohort_id: str,
        *,
        display_name: str,
        description: str,
        rules: CohortRules | None,
        actor: Actor,
    ) -> CohortRow:
        """Replace name, description and rules; a list keeps its ids.

        Raises NotFoundError (`COHORT_NOT_FOUND`), InvalidInputError (`INVALID_COHORT`),
        ConflictError (`COHORT_NAME_CONFLICT`).
        """
        async with self._database.transaction() as transaction:
            stored = await hold_rules(transaction, project_id)
            if cohort_id not in stored:
                raise cohort_not_found(cohort_id)
            if (rules is None) is not (stored[cohort_id] is None):
                raise InvalidInputError("INVALID_COHORT", "rules stay rules, and a list a list")
            if rules is not None:
                self._require_sound(cohort_id, rules, stored)
            await _naming(
                save_cohort(
                    transaction,
                    project_id,
                    cohort_id,
                    display_name=display_name,
                    description=description,
                    rules=None if rules is None else encode_rules(rules),
                )
            )
            await self._audit.record(transaction, actor, "update", project_id, cohort_id)
            return await _read(transaction, project_id, cohort_id)

    async def change_ids(
        self,
        project_id: str,
        cohort_id: str,
        *,
        add: Sequence[str],
        remove: Sequence[str],
        actor: Actor,
    ) -> CohortRow:
        """Take ids off a list, then put ids on it.

        Raises NotFoundError (`COHORT_NOT_FOUND`), InvalidInputError (`INVALID_COHORT`) for a cohort
        by rules, ExhaustedError (`COHORT_TOO_LARGE`).
        """
        async with self._database.transaction() as transaction:
            if not await touch_cohort(transaction, project_id, cohort_id):
                raise cohort_not_found(cohort_id)
            row = await _read(transaction, project_id, cohort_id)
            if row.rules is not None:
                raise InvalidInputError("INVALID_COHORT", "a cohort by rules has no list")
            await remove_ids(transaction, project_id, cohort_id, remove)
            await add_ids(transaction, project_id, cohort_id, add)
            row = await _read(transaction, project_id, cohort_id)
            if row.ids > LIST_IDS_MAX:
                raise _exhausted(f"a list has at most {LIST_IDS_MAX} ids")
            await self._audit.record(transaction, actor, "change_ids", project_id, cohort_id)
        return row

    async def delete(self, project_id: str, cohort_id: str, *, actor: Actor) -> None:
        """Remove a cohort that no tile, alert or other cohort uses.

        Raises NotFoundError (`COHORT_NOT_FOUND`), UnmetError (`COHORT_IN_USE`) that names who does.
        """
        async with self._database.transaction() as transaction:
            stored = await hold_rules(transaction, project_id)
            if cohort_id not in stored:
                raise cohort_not_found(cohort_id)
            await self._require_unused(transaction, project_id, cohort_id, stored)
            await delete_cohort(transaction, project_id, cohort_id)
            await self._audit.record(transaction, actor, "delete", project_id, cohort_id)

    async def preview(self, project_id: str, timezone: str, subject: CohortRules | str) -> int:
        """How many people saved or unsaved rules have now; raises as `create` does."""
        moment = self._moment(timezone)
        if isinstance(subject, str):
            members = await self._planned(project_id, subject, moment)
        else:
            crowd = _parsed(subject)
            names = named_cohorts(Rules(crowd))
            known = await self.lookup.contents(project_id, names) if names else {}
            members = _planned(resolve_crowd(crowd, known, moment))
        async with self._slots.held(project_id, Weight.HEAVY):
            return await self._members.count(project_id, members)

    async def list_members(
        self, project_id: str, timezone: str, cohort_id: str, *, page_size: int, page_token: str
    ) -> MemberPage:
        """The people of a cohort now, by id; raises NotFoundError (`COHORT_NOT_FOUND`)."""
        members = await self._planned(project_id, cohort_id, self._moment(timezone))
        limit = page_size or PAGE_MEMBERS
        async with self._slots.held(project_id, Weight.HEAVY):
            page = await self._members.page(project_id, members, after=page_token, limit=limit)
        return MemberPage(members=page, next_token=page[-1].id if len(page) == limit else "")

    async def _planned(self, project_id: str, cohort_id: str, moment: Moment) -> Condition:
        known = await self.lookup.contents(project_id, [cohort_id])
        return _planned(resolve_cohort(cohort_id, known, moment))

    def _require_sound(
        self, cohort_id: str, rules: CohortRules, stored: Mapping[str, str | None]
    ) -> None:
        """Raise unless the rules, and all that would lead to them, can be asked."""
        moment = self._moment("")
        known = {name: _content(one) for name, one in stored.items() if name != cohort_id}
        known[cohort_id] = Rules(_parsed(rules))
        _planned(resolve_cohort(cohort_id, known, moment))
        for name in _leading_to(cohort_id, known):
            try:
                _planned(resolve_cohort(name, known, moment))
            except InvalidInputError as error:
                raise InvalidInputError(
                    "INVALID_COHORT",
                    f"the cohort {name}, which leads to this one, could not be asked any more:"
                    f" {error.message}",
                ) from error

    async def _require_unused(
        self,
        transaction: Transaction,
        project_id: str,
        cohort_id: str,
        stored: Mapping[str, str | None],
    ) -> None:
        for name, one in stored.items():
            if cohort_id in named_cohorts(_content(one)):
                user = await _read(transaction, project_id, name)
                raise _in_use("cohort", name, f"the cohort “{user.display_name}”")
        asking = await find_user(transaction, project_id, cohort_id)
        if asking is None:
            return
        if asking.board is None:
            raise _in_use("alert", asking.id, f"the alert “{asking.display_name}”")
        raise _in_use(
            "dashboard_tile",
            asking.id,
            f"the tile “{asking.display_name}” of the board “{asking.board}”",
        )

    def _moment(self, timezone: str) -> Moment:
        now_ms = (self._clock.now() - _EPOCH) // timedelta(milliseconds=1)
        return Moment(now_ms=now_ms, zone=timezone)


async def _read(store: Postgres | Transaction, project_id: str, cohort_id: str) -> CohortRow:
    row = await find_cohort(store, project_id, cohort_id)
    if row is None:
        raise cohort_not_found(cohort_id)
    return row


async def _naming(saving: Awaitable[None]) -> None:
    try:
        await saving
    except ConflictError as error:
        raise ConflictError(
            "COHORT_NAME_CONFLICT", "another cohort of the project has this name"
        ) from error


def _content(stored: str | None) -> CohortContent:
    """Rules as stored; which ids a list has does not matter here."""
    return IdList(()) if stored is None else Rules(parse_rules(decode_rules(stored)))


def _leading_to(cohort_id: str, known: Mapping[str, CohortContent]) -> set[str]:
    """The cohorts that name this one, or one that does."""
    found = {cohort_id}
    while True:
        more = {name for name, one in known.items() if named_cohorts(one) & found} - found
        if not more:
            return found - {cohort_id}
        found |= more


def _parsed(rules: CohortRules) -> Crowd:
    try:
        return parse_rules(rules)
    except InvalidInputError as error:
        raise InvalidInputError("INVALID_COHORT", error.message) from error


def _planned(crowd: Crowd) -> Condition:
    require_small(iter((crowd,)))
    try:
        return plan_crowd(crowd)
    except InvalidInputError as error:
        raise InvalidInputError("INVALID_COHORT", error.message) from error


def _in_use(kind: str, name: str, who: str) -> UnmetError:
    return UnmetError(
        "COHORT_IN_USE",
        f"the cohort is used by {who}; take it out there first",
        resource=Resource(kind=kind, name=name),
    )


def _exhausted(sentence: str) -> ExhaustedError:
    return ExhaustedError("COHORT_TOO_LARGE", sentence)
