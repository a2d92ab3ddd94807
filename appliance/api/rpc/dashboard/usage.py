"""`dashboard.usage.v1.UsageService`: how many events were taken [services 13].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from datetime import UTC, date, datetime

from connectrpc.request import RequestContext
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.base.errors import InvalidInputError, Violation
from appliance.gen.dashboard.usage.v1.usage_connect import UsageService
from appliance.gen.dashboard.usage.v1.usage_pb import (
    GetUsageRequest,
    GetUsageResponse,
    UsageDay,
)
from appliance.services.control import ControlPlane


class Usage(UsageService):
    """Metered usage."""

    def __init__(self, control: ControlPlane) -> None:
        self._usage = control.usage

    async def get_usage(
        self,
        request: GetUsageRequest,
        ctx: RequestContext[GetUsageRequest, GetUsageResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetUsageResponse:
        span = request.range
        found = await self._usage.load(
            request.org_id,
            start=_instant(span.from_, "range.from") if span is not None else None,
            end=_instant(span.to, "range.to") if span is not None else None,
        )
        answer = GetUsageResponse(
            period_start=Timestamp.from_datetime(found.period_start),
            period_end=Timestamp.from_datetime(found.period_end),
            daily=[
                UsageDay(day=_day(one.day), project_id=one.project_id, event_count=one.events)
                for one in found.daily
            ],
        )
        if found.used_events is not None:
            answer.used_events = found.used_events
        if found.metered_at is not None:
            answer.usage_computed_at = Timestamp.from_datetime(found.metered_at)
        return answer


def _instant(moment: Timestamp | None, field: str) -> datetime | None:
    if moment is None:
        return None
    try:
        return moment.to_datetime().astimezone(UTC)
    except (OverflowError, ValueError) as error:
        violation = Violation(field=field, description="a time between the years 1 and 9999")
        raise InvalidInputError(
            "INVALID_ARGUMENT",
            f"{field}: {violation.description}",
            violations=(violation,),
        ) from error


def _day(day: date) -> Timestamp:
    return Timestamp.from_datetime(datetime(day.year, day.month, day.day, tzinfo=UTC))
