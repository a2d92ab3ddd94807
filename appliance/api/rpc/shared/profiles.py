"""`shared.profiles.v1.ProfilesService`: persons of a project [services 7.4].

Invariant: handlers translate messages only; the project is that of the credential.
"""

from collections.abc import AsyncIterator

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.domain.people.answers import render_person
from appliance.gen.shared.profiles.v1.profiles_connect import ProfilesService
from appliance.gen.shared.profiles.v1.profiles_pb import (
    GetByExternalIdRequest,
    GetByExternalIdResponse,
    GetRequest,
    GetResponse,
    ListRequest,
    ListResponse,
)
from appliance.services.people import PeopleService


class Profiles(ProfilesService):
    """Reading persons, and asking for their erasure."""

    def __init__(self, people: PeopleService) -> None:
        self._people = people

    async def get(
        self,
        request: GetRequest,
        ctx: RequestContext[GetRequest, GetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetResponse:
        found = await self._people.get(current_call.get().caller.project_id, request.id)
        return GetResponse(profile=render_person(found))

    async def get_by_external_id(
        self,
        request: GetByExternalIdRequest,
        ctx: RequestContext[GetByExternalIdRequest, GetByExternalIdResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetByExternalIdResponse:
        found = await self._people.get_by_external_id(
            current_call.get().caller.project_id, request.external_id
        )
        return GetByExternalIdResponse(profile=render_person(found))

    async def list(
        self,
        request: ListRequest,
        ctx: RequestContext[ListRequest, ListResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> AsyncIterator[ListResponse]:
        pages = self._people.list(current_call.get().caller.project_id, request)
        async for page in pages:
            answer = ListResponse(profiles=list(map(render_person, page.persons)))
            if page.next_token:
                answer.next_page_token = page.next_token
            yield answer
