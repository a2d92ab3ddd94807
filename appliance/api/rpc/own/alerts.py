"""`appliance.alerts.v1.AlertsService`: alerts on one number of an insight (decision 0035).

Invariant: handlers translate messages only; the project is always that of the credential.
"""

from typing import TypeVar

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.api.ports import Principal
from appliance.api.rpc.own.alert_messages import (
    alert_message,
    draft_of,
    evaluation_message,
    firing_message,
    secret_message,
)
from appliance.gen.appliance.alerts.v1 import alerts_pb as pb
from appliance.gen.appliance.alerts.v1.alerts_connect import AlertsService
from appliance.services.alerts.measuring import AskedProject
from appliance.services.alerts.service import AlertsService as Kept
from appliance.storage.postgres.alerts import LastFound


class Alerts(AlertsService):
    """Alerts of the credential's project."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept

    async def create(
        self,
        request: pb.CreateRequest,
        ctx: RequestContext[pb.CreateRequest, pb.CreateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.CreateResponse:
        call = current_call.get()
        saved = await self._kept.create(
            _project(call.caller),
            draft_of(_sent(request.content)),
            author_id=call.signed_in.customer_id if call.signed_in is not None else None,
            actor=call.actor,
        )
        return pb.CreateResponse(
            alert=alert_message(saved.alert), secrets=list(map(secret_message, saved.secrets))
        )

    async def get(
        self,
        request: pb.GetRequest,
        ctx: RequestContext[pb.GetRequest, pb.GetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.GetResponse:
        alert = await self._kept.get(current_call.get().caller.project_id, request.id)
        return pb.GetResponse(alert=alert_message(alert))

    async def list(
        self,
        request: pb.ListRequest,  # noqa: ARG002 the credential says which
        ctx: RequestContext[pb.ListRequest, pb.ListResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.ListResponse:
        alerts = await self._kept.list_all(current_call.get().caller.project_id)
        return pb.ListResponse(alerts=list(map(alert_message, alerts)))

    async def update(
        self,
        request: pb.UpdateRequest,
        ctx: RequestContext[pb.UpdateRequest, pb.UpdateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.UpdateResponse:
        call = current_call.get()
        saved = await self._kept.update(
            _project(call.caller),
            request.id,
            draft_of(_sent(request.content)),
            actor=call.actor,
        )
        return pb.UpdateResponse(
            alert=alert_message(saved.alert), secrets=list(map(secret_message, saved.secrets))
        )

    async def delete(
        self,
        request: pb.DeleteRequest,
        ctx: RequestContext[pb.DeleteRequest, pb.DeleteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.DeleteResponse:
        call = current_call.get()
        await self._kept.delete(call.caller.project_id, request.id, actor=call.actor)
        return pb.DeleteResponse()

    async def test(
        self,
        request: pb.TestRequest,
        ctx: RequestContext[pb.TestRequest, pb.TestResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.TestResponse:
        tried = await self._kept.test(
            current_call.get().caller.project_id, request.id, send=request.send
        )
        found = LastFound(
            at=tried.at,
            value=tried.numbers.value,
            baseline=tried.numbers.baseline,
            window_start=tried.numbers.window_start,
            window_end=tried.numbers.window_end,
        )
        return pb.TestResponse(
            evaluation=evaluation_message(found), holds=tried.held, firing_id=tried.firing_id
        )

    async def list_firings(
        self,
        request: pb.ListFiringsRequest,
        ctx: RequestContext[pb.ListFiringsRequest, pb.ListFiringsResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.ListFiringsResponse:
        page = await self._kept.list_firings(
            current_call.get().caller.project_id,
            request.alert_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListFiringsResponse(
            firings=list(map(firing_message, page.firings)), next_page_token=page.next_token
        )


_Message = TypeVar("_Message")


def _sent(message: _Message | None) -> _Message:
    assert message is not None, "the schema needs it"
    return message


def _project(caller: Principal) -> AskedProject:
    return AskedProject(project_id=caller.project_id, timezone=caller.timezone)
