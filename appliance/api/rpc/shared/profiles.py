"""`shared.profiles.v1.ProfilesService`: persons of a project [services 7.4].

Invariant: handlers translate messages only; the project is that of the credential.
"""

from collections.abc import AsyncIterator
from typing import Final

from connectrpc.request import RequestContext
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.api.call import current_call
from appliance.domain.people.answers import render_person
from appliance.domain.people.erasure import ErasureStatus
from appliance.gen.shared.profiles.v1.profiles_connect import ProfilesService
from appliance.gen.shared.profiles.v1.profiles_pb import (
    ComplianceRequestStatus,
    DeleteDataSubjectRequest,
    DeleteDataSubjectResponse,
    DeleteRequest,
    DeleteResponse,
    GetByExternalIdRequest,
    GetByExternalIdResponse,
    GetDeletionRequestRequest,
    GetDeletionRequestResponse,
    GetRequest,
    GetResponse,
    ListRequest,
    ListResponse,
)
from appliance.services.erasure import ErasureService
from appliance.services.people import PeopleService

_STATUS: Final = {
    ErasureStatus.PENDING: ComplianceRequestStatus.PENDING,
    ErasureStatus.PROCESSING: ComplianceRequestStatus.PROCESSING,
    ErasureStatus.COMPLETED: ComplianceRequestStatus.COMPLETED,
    ErasureStatus.FAILED: ComplianceRequestStatus.FAILED,
}


class Profiles(ProfilesService):
    """Reading persons, and asking for their erasure."""

    def __init__(self, people: PeopleService, erasure: ErasureService) -> None:
        self._people = people
        self._erasure = erasure

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

    async def delete(
        self,
        request: DeleteRequest,
        ctx: RequestContext[DeleteRequest, DeleteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DeleteResponse:
        call = current_call.get()
        accepted = await self._erasure.delete_person(
            call.caller.project_id, request.id, actor=call.actor
        )
        return DeleteResponse(request_id=accepted.request_id, status=_STATUS[accepted.status])

    async def delete_data_subject(
        self,
        request: DeleteDataSubjectRequest,
        ctx: RequestContext[DeleteDataSubjectRequest, DeleteDataSubjectResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DeleteDataSubjectResponse:
        call = current_call.get()
        accepted = await self._erasure.delete_data_subject(
            call.caller.project_id, request.external_id, actor=call.actor
        )
        return DeleteDataSubjectResponse(
            request_id=accepted.request_id, status=_STATUS[accepted.status]
        )

    async def get_deletion_request(
        self,
        request: GetDeletionRequestRequest,
        ctx: RequestContext[GetDeletionRequestRequest, GetDeletionRequestResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetDeletionRequestResponse:
        found = await self._erasure.load(current_call.get().caller.project_id, request.request_id)
        answer = GetDeletionRequestResponse(
            request_id=found.id,
            external_id=found.external_id,
            profile_id=found.profile_id,
            status=_STATUS[found.status],
            events_identified=found.events_affected,
            requested_at=Timestamp.from_datetime(found.requested_at),
            error=found.error or "",
        )
        if found.completed_at is not None:
            answer.completed_at = Timestamp.from_datetime(found.completed_at)
        return answer
