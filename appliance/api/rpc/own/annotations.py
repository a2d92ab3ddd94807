"""`appliance.annotations.v1.AnnotationsService`: marks on the time axis (decision 0035).

Invariant: handlers translate messages only; the project is always that of the credential.
"""

from connectrpc.request import RequestContext
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.api.call import current_call
from appliance.api.rpc.own.times import moment_of
from appliance.domain.annotations import Annotation, AnnotationContent
from appliance.gen.appliance.annotations.v1 import annotations_pb as pb
from appliance.gen.appliance.annotations.v1.annotations_connect import AnnotationsService
from appliance.services.annotations import AnnotationsService as Kept


class Annotations(AnnotationsService):
    """Annotations of the credential's project."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def create(
        self,
        request: pb.CreateRequest,
        ctx: RequestContext[pb.CreateRequest, pb.CreateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.CreateResponse:
        call = current_call.get()
        made = await self._kept.create(
            call.caller.project_id,
            _content(request.content),
            author_id=call.signed_in.customer_id if call.signed_in is not None else None,
            actor=call.actor,
        )
        return pb.CreateResponse(annotation=_message(made))

    async def list(
        self,
        request: pb.ListRequest,
        ctx: RequestContext[pb.ListRequest, pb.ListResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.ListResponse:
        window = request.time_range
        assert window is not None, "the schema needs it"
        page = await self._kept.list_page(
            current_call.get().caller.project_id,
            start_at=moment_of(window.from_),
            end_at=moment_of(window.to),
            dashboard_id=request.dashboard_id or None,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListResponse(
            annotations=[_message(one) for one in page.annotations],
            next_page_token=page.next_token,
        )

    async def update(
        self,
        request: pb.UpdateRequest,
        ctx: RequestContext[pb.UpdateRequest, pb.UpdateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.UpdateResponse:
        saved = await self._kept.update(
            current_call.get().caller.project_id, request.id, _content(request.content)
        )
        return pb.UpdateResponse(annotation=_message(saved))

    async def delete(
        self,
        request: pb.DeleteRequest,
        ctx: RequestContext[pb.DeleteRequest, pb.DeleteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.DeleteResponse:
        call = current_call.get()
        await self._kept.delete(call.caller.project_id, request.id, actor=call.actor)
        return pb.DeleteResponse()


def _content(sent: pb.AnnotationContent | None) -> AnnotationContent:
    assert sent is not None, "the schema needs it"
    return AnnotationContent(
        text=sent.text,
        start_at=moment_of(sent.start_time),
        end_at=moment_of(sent.end_time) if sent.end_time is not None else None,
        dashboard_id=sent.dashboard_id or None,
    )


def _message(kept: Annotation) -> pb.Annotation:
    content = pb.AnnotationContent(
        text=kept.content.text,
        start_time=Timestamp.from_datetime(kept.content.start_at),
        dashboard_id=kept.content.dashboard_id or "",
    )
    if kept.content.end_at is not None:
        content.end_time = Timestamp.from_datetime(kept.content.end_at)
    return pb.Annotation(
        id=kept.id,
        content=content,
        author_id=kept.author_id or "",
        create_time=Timestamp.from_datetime(kept.created_at),
        update_time=Timestamp.from_datetime(kept.updated_at),
    )
