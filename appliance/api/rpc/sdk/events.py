"""`sdk.events.v1.EventsService`: where events come in [services 8].

Invariant: an answer is given only after the batch is safe; `accepted` and `dropped` are always
present. What a batch must look like and what is done to it stands in `services/ingest.py`.
"""

from typing import cast

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.api.ports import Ingest
from appliance.domain.ingest.event import Batch
from appliance.domain.ingest.facts import gather_facts
from appliance.gen.sdk.events.v1.events_connect import EventsService
from appliance.gen.sdk.events.v1.events_pb import BatchCreateRequest, BatchCreateResponse


class Events(EventsService):
    """The ingest door."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    async def batch_create(
        self,
        request: BatchCreateRequest,
        ctx: RequestContext[BatchCreateRequest, BatchCreateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> BatchCreateResponse:
        batch = cast("Batch", cast("object", request))  # the codecs of this service build batches
        call = current_call.get()
        facts = gather_facts(call.headers.items(), peer=call.peer)
        receipt = await self._ingest.accept(call.caller, batch, facts)
        call.events = receipt.accepted
        call.dropped = receipt.dropped
        return BatchCreateResponse(
            accepted=receipt.accepted,
            dropped=receipt.dropped,
            dropped_by_reason=dict(receipt.dropped_by_reason),
        )
