"""`dashboard.projects.v1.ProjectsService`: projects and API keys [services 6.3].

Invariant: handlers translate messages only; what happens is decided in `services`. Push credentials
come from services that give them to administrators alone [services 12 #12].
"""

from typing import Final

from connectrpc.request import RequestContext
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.api.call import current_call
from appliance.gen.dashboard.projects.v1.projects_connect import ProjectsService
from appliance.gen.dashboard.projects.v1.projects_pb import (
    ApiKey,
    ApiKeyKind,
    BatchGetRequest,
    BatchGetResponse,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    CreateRequest,
    CreateResponse,
    DeleteApiKeyRequest,
    DeleteApiKeyResponse,
    DeleteRequest,
    DeleteResponse,
    GetRequest,
    GetResponse,
    ListApiKeysRequest,
    ListApiKeysResponse,
    Project,
    UpdateFCMServiceJSONRequest,
    UpdateFCMServiceJSONResponse,
    UpdateMetaRequest,
    UpdateMetaResponse,
)
from appliance.services.control import ControlPlane
from appliance.storage.postgres.api_keys import KeyRow
from appliance.storage.postgres.project_admin import OrgProject
from appliance.storage.postgres.projects import KeyKind

_KINDS: Final = {
    ApiKeyKind.PUBLIC: KeyKind.PUBLIC,
    ApiKeyKind.PRIVATE: KeyKind.PRIVATE,
}
_WIRE_KINDS: Final = {kind: wire for wire, kind in _KINDS.items()}


class Projects(ProjectsService):
    """Projects and their keys."""

    def __init__(self, control: ControlPlane) -> None:
        self._projects = control.projects
        self._keys = control.api_keys

    async def batch_get(
        self,
        request: BatchGetRequest,
        ctx: RequestContext[BatchGetRequest, BatchGetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> BatchGetResponse:
        found = await self._projects.list_of_org(
            request.org_id, customer_id=current_call.get().customer.customer_id
        )
        return BatchGetResponse(projects=[_project(one) for one in found])

    async def create(
        self,
        request: CreateRequest,
        ctx: RequestContext[CreateRequest, CreateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> CreateResponse:
        call = current_call.get()
        made = await self._projects.create_for_admin(
            request.display_name,
            org_id=request.org_id,
            timezone=request.reporting_timezone,
            customer_id=call.customer.customer_id,
            actor=call.actor,
        )
        return CreateResponse(
            project=Project(
                id=made.id,
                org_id=made.org_id,
                display_name=made.display_name,
                reporting_timezone=made.timezone,
                fcm_service_json="",
            )
        )

    async def delete(
        self,
        request: DeleteRequest,  # noqa: ARG002 the header says which
        ctx: RequestContext[DeleteRequest, DeleteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DeleteResponse:
        call = current_call.get()
        await self._projects.delete_project(call.caller.project_id, actor=call.actor)
        return DeleteResponse()

    async def get(
        self,
        request: GetRequest,  # noqa: ARG002 the header says which
        ctx: RequestContext[GetRequest, GetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetResponse:
        return GetResponse(project=await self._load())

    async def update_meta(
        self,
        request: UpdateMetaRequest,
        ctx: RequestContext[UpdateMetaRequest, UpdateMetaResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> UpdateMetaResponse:
        call = current_call.get()
        await self._projects.update_meta(
            call.caller.project_id,
            display_name=request.display_name if request.has_field("display_name") else None,
            timezone=(
                request.reporting_timezone if request.has_field("reporting_timezone") else None
            ),
            actor=call.actor,
        )
        return UpdateMetaResponse(project=await self._load())

    async def update_fcm_service_json(
        self,
        request: UpdateFCMServiceJSONRequest,
        ctx: RequestContext[UpdateFCMServiceJSONRequest, UpdateFCMServiceJSONResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> UpdateFCMServiceJSONResponse:
        call = current_call.get()
        await self._projects.set_push_account(
            call.caller.project_id, request.fcm_service_json, actor=call.actor
        )
        return UpdateFCMServiceJSONResponse()

    async def list_api_keys(
        self,
        request: ListApiKeysRequest,  # noqa: ARG002 the header says which
        ctx: RequestContext[ListApiKeysRequest, ListApiKeysResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> ListApiKeysResponse:
        found = await self._keys.list_keys(current_call.get().caller.project_id)
        return ListApiKeysResponse(api_keys=[_key(one) for one in found])

    async def create_api_key(
        self,
        request: CreateApiKeyRequest,
        ctx: RequestContext[CreateApiKeyRequest, CreateApiKeyResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> CreateApiKeyResponse:
        call = current_call.get()
        made = await self._keys.store_key(
            call.caller.project_id,
            _KINDS[request.kind],
            display_name=request.display_name,
            actor=call.actor,
        )
        return CreateApiKeyResponse(api_key=_key(made.row), key=made.fresh.key.reveal())

    async def delete_api_key(
        self,
        request: DeleteApiKeyRequest,
        ctx: RequestContext[DeleteApiKeyRequest, DeleteApiKeyResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> DeleteApiKeyResponse:
        call = current_call.get()
        await self._keys.delete_key(call.caller.project_id, request.id, actor=call.actor)
        return DeleteApiKeyResponse()

    async def _load(self) -> Project:
        call = current_call.get()
        return _project(
            await self._projects.load_for(
                call.caller.project_id, customer_id=call.customer.customer_id
            )
        )


def _project(found: OrgProject) -> Project:
    return Project(
        id=found.id,
        org_id=found.org_id,
        display_name=found.display_name,
        reporting_timezone=found.timezone,
        fcm_service_json=found.push_account,
    )


def _key(row: KeyRow) -> ApiKey:
    """An entry of lists; a private key is never whole in one."""
    entry = ApiKey(
        id=row.id,
        kind=_WIRE_KINDS[row.kind],
        display_name=row.display_name,
        masked=row.masked,
        create_time=Timestamp.from_datetime(row.created_at),
    )
    if row.key:
        entry.key = row.key
    return entry
