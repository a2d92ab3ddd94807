"""`dashboard.customers.v1.CustomersService`: the signed-in customer [services 6.1].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.config.secrets import Secret
from appliance.gen.dashboard.customers.v1.customers_connect import CustomersService
from appliance.gen.dashboard.customers.v1.customers_pb import (
    GetMeRequest,
    GetMeResponse,
    SetPasswordRequest,
    SetPasswordResponse,
)
from appliance.services.control import ControlPlane

# ruff: noqa: ARG002 the shape of the library


class Customers(CustomersService):
    """One's own account."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control

    async def get_me(
        self, request: GetMeRequest, ctx: RequestContext[GetMeRequest, GetMeResponse], /
    ) -> GetMeResponse:
        found = await self._control.accounts.load(current_call.get().customer.customer_id)
        return GetMeResponse(customer_id=found.id, email=found.email, email_verified=found.verified)

    async def set_password(
        self,
        request: SetPasswordRequest,
        ctx: RequestContext[SetPasswordRequest, SetPasswordResponse],
        /,
    ) -> SetPasswordResponse:
        call = current_call.get()
        await self._control.accounts.set_password(
            call.actor, call.customer.customer_id, Secret(request.password)
        )
        return SetPasswordResponse()
