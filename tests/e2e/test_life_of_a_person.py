"""A visitor becomes a person, is read in every way, and is erased, on a stack as users start it."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pyqwest
import pytest
from connectrpc.codec import proto_binary_codec, proto_json_codec
from connectrpc.errors import ConnectError
from protobuf.wkt import Struct

from appliance.base.tasks import poll
from appliance.gen.common.v1.filter_schema_pb import PropertySource
from appliance.gen.common.v1.filters_pb import FilterOperator, PropertyFilter
from appliance.gen.sdk.profiles.v1.profiles_connect import ProfilesSDKServiceClient
from appliance.gen.sdk.profiles.v1.profiles_pb import IdentifyRequest
from appliance.gen.shared.activity.v1.activity_connect import ActivityServiceClient
from appliance.gen.shared.activity.v1.activity_pb import (
    GetActivityFeedRequest,
    GetProfileStatsRequest,
)
from appliance.gen.shared.profiles.v1.profiles_connect import ProfilesServiceClient
from appliance.gen.shared.profiles.v1.profiles_pb import (
    ComplianceRequestStatus,
    DeleteRequest,
    FilterGroup,
    GetByExternalIdRequest,
    GetDeletionRequestRequest,
    GetRequest,
    ListRequest,
    Profile,
)
from tests.support.stack import VISIBLE_SECONDS_MAX, Stack, make_event

pytestmark = [pytest.mark.e2e, pytest.mark.anyio, pytest.mark.timeout(300)]


class Callers:
    """Generated clients of one form, with the keys of the stack."""

    def __init__(self, stack: Stack, form: str, http: pyqwest.Client) -> None:
        codec = proto_json_codec() if form == "json" else proto_binary_codec()
        url = stack.connection.url
        self.people = ProfilesServiceClient(url, http_client=http, codec=codec)
        self.activity = ActivityServiceClient(url, http_client=http, codec=codec)
        self.sdk = ProfilesSDKServiceClient(url, http_client=http, codec=codec)
        self.private = {"x-api-key": stack.connection.private_key}
        self.public = {"x-api-key": stack.connection.public_key}

    async def get(self, person_id: str) -> Profile | None:
        try:
            answer = await self.people.get(GetRequest(id=person_id), headers=self.private)
        except ConnectError as error:
            if error.code.value != "not_found":
                raise
            return None
        return answer.profile

    async def listed(self, plan: str) -> list[str]:
        test = PropertyFilter(
            property="plan",
            operator=FilterOperator.EQUALS,
            value=plan,
            source=PropertySource.PROFILE,
        )
        request = ListRequest(filter_groups=[FilterGroup(filters=[test])])
        pages = self.people.list(request, headers=self.private)
        return [one.external_id async for page in pages for one in page.profiles]


@pytest.fixture(params=["json", "proto"])
async def callers(request: pytest.FixtureRequest, stack: Stack) -> Callers:
    return Callers(stack, str(request.param), pyqwest.Client())


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    """The first answer that is something; None when there is none in time."""

    async def asked() -> Any:
        return (await ask()) or None

    return await poll(asked, every_seconds=0.1, timeout_seconds=VISIBLE_SECONDS_MAX)


async def fed(callers: Callers, name: str) -> list[str] | None:
    """The kinds of the events of a person, in order, once there are four."""
    feed = await callers.activity.get_activity_feed(
        GetActivityFeedRequest(distinct_id=name), headers=callers.private
    )
    return sorted(one.kind for one in feed.events) if len(feed.events) >= 4 else None


async def test_a_person_from_first_event_to_last(stack: Stack, callers: Callers) -> None:
    """Anonymous, named, read, erased."""
    word = uuid4().hex
    anonymous, known = f"anon-{word}", f"user-{word}"
    assert stack.post([make_event("shown", distinct_id=anonymous) for _ in range(3)]).is_success

    async def counted(events: int) -> Profile | None:
        found = await callers.get(anonymous)
        return found if found and found.activity and found.activity.total_events == events else None

    visitor = await until(lambda: counted(3))
    assert (visitor.id, visitor.external_id) == (anonymous, "")
    assert visitor.activity.total_events == 3

    request = IdentifyRequest(
        external_id=known, anonymous_id=anonymous, traits=Struct.from_python({"plan": word})
    )
    await callers.sdk.identify(request, headers=callers.public)
    assert stack.post([make_event("bought", distinct_id=known)]).is_success

    async def whole() -> Profile | None:
        found = await counted(4)
        named = found is not None and found.external_id == known
        return found if named and found.properties.to_python() == {"plan": word} else None

    person = await until(whole)
    by_name = await callers.people.get_by_external_id(
        GetByExternalIdRequest(external_id=known), headers=callers.private
    )
    assert by_name.profile == person

    async def is_listed() -> bool:
        return await callers.listed(word) == [known]

    assert await until(is_listed)
    for name in (person.id, anonymous, known):
        assert await until(lambda name=name: fed(callers, name)) == [*["bought"], *["shown"] * 3]

    async def told() -> bool:
        stats = await callers.activity.get_profile_stats(
            GetProfileStatsRequest(distinct_id=person.id), headers=callers.private
        )
        return stats.stats is not None and stats.stats.total_events == 4

    assert await until(told)

    asked = await callers.people.delete(DeleteRequest(id=person.id), headers=callers.private)

    async def erased() -> bool:
        state = await callers.people.get_deletion_request(
            GetDeletionRequestRequest(request_id=asked.request_id), headers=callers.private
        )
        assert state.status != ComplianceRequestStatus.FAILED, state.error
        return state.status == ComplianceRequestStatus.COMPLETED

    assert await until(erased)
    for name in (person.id, anonymous, known):
        assert await callers.get(name) is None
        feed = await callers.activity.get_activity_feed(
            GetActivityFeedRequest(distinct_id=name), headers=callers.private
        )
        assert list(feed.events) == []
    assert await callers.listed(word) == []
