"""`dashboard.orgemailproviders.v1.OrgEmailProvidersService`: an organisation's mail [services 6.5].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from typing import Final

from connectrpc.request import RequestContext
from protobuf import Oneof
from protobuf.wkt.google.protobuf.timestamp_pb import Timestamp

from appliance.api.call import current_call
from appliance.base.errors import InvalidInputError
from appliance.gen.dashboard.orgemailproviders.v1 import orgemailproviders_pb as pb
from appliance.gen.dashboard.orgemailproviders.v1.orgemailproviders_connect import (
    OrgEmailProvidersService,
)
from appliance.services.control import ControlPlane
from appliance.services.mail.sealing import Config, ResendConfig, SmtpConfig
from appliance.storage.postgres.email_providers import ProviderKind

_WIRE_KINDS: Final = {
    ProviderKind.SMTP: pb.OrgEmailProviderKind.SMTP,
    ProviderKind.RESEND: pb.OrgEmailProviderKind.RESEND,
}


class EmailProviders(OrgEmailProvidersService):
    """The mail provider of an organisation."""

    def __init__(self, control: ControlPlane) -> None:
        self._providers = control.mail.org_providers

    async def get(
        self,
        request: pb.GetRequest,
        ctx: RequestContext[pb.GetRequest, pb.GetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.GetResponse:
        shown = await self._providers.load(request.org_id)
        return pb.GetResponse(
            kind=_WIRE_KINDS[shown.kind],
            from_address=shown.from_address,
            reply_to=shown.reply_to,
            redacted_secret=shown.redacted_secret,
            update_time=Timestamp.from_datetime(shown.update_time),
        )

    async def set(
        self,
        request: pb.SetRequest,
        ctx: RequestContext[pb.SetRequest, pb.SetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.SetResponse:
        update_time = await self._providers.save(
            request.org_id,
            _config(request),
            from_address=request.from_address,
            reply_to=request.reply_to,
            actor=current_call.get().actor,
        )
        return pb.SetResponse(update_time=Timestamp.from_datetime(update_time))

    async def remove(
        self,
        request: pb.RemoveRequest,
        ctx: RequestContext[pb.RemoveRequest, pb.RemoveResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.RemoveResponse:
        await self._providers.remove(request.org_id, current_call.get().actor)
        return pb.RemoveResponse()

    async def send_test(
        self,
        request: pb.SendTestRequest,
        ctx: RequestContext[pb.SendTestRequest, pb.SendTestResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> pb.SendTestResponse:
        outcome = await self._providers.send_test(
            request.org_id, request.recipient, own_address=current_call.get().customer.email
        )
        return pb.SendTestResponse(success=not outcome.problem, error_message=outcome.problem)


def _config(request: pb.SetRequest) -> Config:
    match request.config:
        case Oneof(field="smtp", value=pb.SMTPConfig() as smtp):
            return SmtpConfig(
                host=smtp.host,
                port=smtp.port,
                username=smtp.username,
                password=smtp.password,
                use_tls=smtp.use_tls,
            )
        case Oneof(field="resend", value=pb.ResendConfig() as resend):
            return ResendConfig(api_key=resend.api_key)
        case _:
            raise InvalidInputError("INVALID_EMAIL_PROVIDER_CONFIG", "no provider is given")
