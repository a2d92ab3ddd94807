"""`appliance.cohorts.v1.CohortsService`: saved groups of people (decision 0034).

Invariant: handlers translate messages only; the project is always that of the credential.
"""

from connectrpc.request import RequestContext
from protobuf import Oneof
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.api.call import current_call
from appliance.domain.cohorts.wire import decode_rules
from appliance.gen.appliance.cohorts.v1 import cohorts_pb as pb
from appliance.gen.appliance.cohorts.v1.cohorts_connect import CohortsService
from appliance.services.cohorts import CohortsService as Kept
from appliance.storage.postgres.cohorts import CohortRow


class Cohorts(CohortsService):
    """Cohorts of the credential's project."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def create(
        self,
        request: pb.CreateRequest,
        ctx: RequestContext[pb.CreateRequest, pb.CreateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.CreateResponse:
        call = current_call.get()
        match request.content:
            case Oneof(value=pb.CohortRules() as rules):
                content = rules
            case Oneof(value=pb.NewList() as sent):
                content = list(sent.distinct_ids)
            case _:
                raise AssertionError("the schema needs a content")
        made = await self._kept.create(
            call.caller.project_id,
            display_name=request.display_name,
            description=request.description,
            content=content,
            actor=call.actor,
        )
        return pb.CreateResponse(cohort=_message(made))

    async def get(
        self,
        request: pb.GetRequest,
        ctx: RequestContext[pb.GetRequest, pb.GetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.GetResponse:
        found = await self._kept.get(current_call.get().caller.project_id, request.id)
        return pb.GetResponse(cohort=_message(found))

    async def list(
        self,
        request: pb.ListRequest,  # noqa: ARG002 the credential says which
        ctx: RequestContext[pb.ListRequest, pb.ListResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.ListResponse:
        found = await self._kept.list_all(current_call.get().caller.project_id)
        return pb.ListResponse(cohorts=[_message(one) for one in found])

    async def update(
        self,
        request: pb.UpdateRequest,
        ctx: RequestContext[pb.UpdateRequest, pb.UpdateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.UpdateResponse:
        call = current_call.get()
        saved = await self._kept.update(
            call.caller.project_id,
            request.id,
            display_name=request.display_name,
            description=request.description,
            rules=request.rules,
            actor=call.actor,
        )
        return pb.UpdateResponse(cohort=_message(saved))

    async def delete(
        self,
        request: pb.DeleteRequest,
        ctx: RequestContext[pb.DeleteRequest, pb.DeleteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.DeleteResponse:
        call = current_call.get()
        await self._kept.delete(call.caller.project_id, request.id, actor=call.actor)
        return pb.DeleteResponse()

    async def preview(
        self,
        request: pb.PreviewRequest,
        ctx: RequestContext[pb.PreviewRequest, pb.PreviewResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.PreviewResponse:
        caller = current_call.get().caller
        assert request.subject is not None, "the schema needs it"
        people = await self._kept.preview(caller.project_id, caller.timezone, request.subject.value)
        return pb.PreviewResponse(people=people)

    async def list_members(
        self,
        request: pb.ListMembersRequest,
        ctx: RequestContext[pb.ListMembersRequest, pb.ListMembersResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.ListMembersResponse:
        caller = current_call.get().caller
        page = await self._kept.list_members(
            caller.project_id,
            caller.timezone,
            request.id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListMembersResponse(
            members=[pb.Member(id=one.id, external_id=one.external_id) for one in page.members],
            next_page_token=page.next_token,
        )

    async def change_ids(
        self,
        request: pb.ChangeIdsRequest,
        ctx: RequestContext[pb.ChangeIdsRequest, pb.ChangeIdsResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.ChangeIdsResponse:
        call = current_call.get()
        changed = await self._kept.change_ids(
            call.caller.project_id,
            request.id,
            add=request.add,
            remove=request.remove,
            actor=call.actor,
        )
        return pb.ChangeIdsResponse(cohort=_message(changed))


def _message(row: CohortRow) -> pb.Cohort:
    return pb.Cohort(
        id=row.id,
        project_id=row.project_id,
        display_name=row.display_name,
        description=row.description,
        content=Oneof("list", pb.IdList(ids=row.ids))
        if row.rules is None
        else Oneof("rules", decode_rules(row.rules)),
        create_time=Timestamp.from_datetime(row.create_time),
        update_time=Timestamp.from_datetime(row.update_time),
    )
