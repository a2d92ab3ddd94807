"""What filters can be built from: kinds, keys, values [insights 17, services 7.3].

Invariant: insights and activity give the same answers, because both ask here. Schemas may be a few
minutes old; an answer whose promoted keys could not be counted is given and not kept.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from msgspec import Struct

from appliance.base.clock import Clock
from appliance.base.errors import ApplianceError, InvalidInputError
from appliance.domain.discovery.keys import FilterSchema, Seen, ValueType, narrow, offer_auto_keys
from appliance.domain.discovery.wire import parse_types, render_schema
from appliance.domain.insights.weight import Weight
from appliance.gen.common.v1.filter_schema_pb import (
    GetFilterSchemaRequest,
    GetFilterSchemaResponse,
    PropertySource,
)
from appliance.services.question_slots import QuestionSlots
from appliance.storage.clickhouse.discovery import DiscoveryReader

KEPT_SECONDS: Final = 60.0
"""Below the five minutes of the contract: whoever adds a property looks for it soon."""

KEPT_MAX: Final = 256
VALUES_DAYS: Final = 30

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOG: Final = structlog.stdlib.get_logger()

_Asked = tuple[str, str, frozenset[ValueType]]


class _Kept(Struct, frozen=True):
    answer: GetFilterSchemaResponse
    until: float


class DiscoveryService:
    """`GetFilterSchema` and `GetPropertyValues` of both services."""

    def __init__(
        self, reader: DiscoveryReader, clock: Clock, *, slots: QuestionSlots | None = None
    ) -> None:
        self._slots = slots or QuestionSlots()
        self._reader = reader
        self._clock = clock
        self._kept: dict[_Asked, _Kept] = {}

    async def filter_schema(
        self, project_id: str, request: GetFilterSchemaRequest
    ) -> GetFilterSchemaResponse:
        """Kinds and keys of a project; raises UnavailableError."""
        allowed = parse_types(request.allowed_types)
        asked = (project_id, request.event_kind, allowed)
        now = self._clock.monotonic_seconds()
        kept = self._kept.get(asked)
        if kept is not None and now < kept.until:
            return kept.answer
        promoted = await self._promoted(project_id, request.event_kind)
        events, auto, custom, profile = await asyncio.gather(
            self._reader.events(project_id),
            self._reader.event_keys(project_id, "auto", request.event_kind),
            self._reader.event_keys(project_id, "custom", request.event_kind),
            self._reader.profile_keys(project_id),
        )
        answer = render_schema(
            FilterSchema(
                events=events,
                auto=offer_auto_keys(auto, promoted or {}, allowed),
                custom=narrow(custom, allowed),
                profile=narrow(profile, allowed),
            )
        )
        if promoted is not None:
            self._keep(asked, _Kept(answer, now + KEPT_SECONDS))
        return answer

    async def property_values(
        self, project_id: str, key: str, source: PropertySource, kind: str
    ) -> Sequence[str]:
        """At most a hundred texts of a property, in no order.

        Raises InvalidInputError (`INVALID_ARGUMENT`) for what no property can be, UnavailableError.
        """
        match source:
            case PropertySource.AUTO if key.startswith("$"):
                return await self._values(project_id, key, kind, is_custom=False)
            case PropertySource.CUSTOM:
                return await self._values(project_id, key, kind, is_custom=True)
            case PropertySource.PROFILE:
                return await self._reader.profile_values(project_id, key)
            case PropertySource.AUTO:
                raise InvalidInputError("INVALID_ARGUMENT", "an auto property begins with $")
            case _:
                raise InvalidInputError("INVALID_ARGUMENT", "name the source of the property")

    async def _values(
        self, project_id: str, key: str, kind: str, *, is_custom: bool
    ) -> Sequence[str]:
        since = self._clock.now() - timedelta(days=VALUES_DAYS)
        since_ms = (since - _EPOCH) // timedelta(milliseconds=1)
        async with self._slots.held(project_id, Weight.HEAVY):
            return await self._reader.event_values(
                project_id, key, kind=kind, since_ms=since_ms, is_custom=is_custom
            )

    async def _promoted(self, project_id: str, kind: str) -> Mapping[str, Seen] | None:
        try:
            async with self._slots.held(project_id, Weight.LIGHT):
                return await self._reader.promoted(project_id, kind)
        except ApplianceError as error:
            _LOG.warning("promoted_keys_not_counted", reason=error.reason)
            return None

    def _keep(self, asked: _Asked, kept: _Kept) -> None:
        while len(self._kept) >= KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        self._kept.pop(asked, None)
        self._kept[asked] = kept
