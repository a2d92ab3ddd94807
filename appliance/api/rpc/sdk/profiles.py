"""`sdk.profiles.v1.ProfilesSDKService`: where persons get their names [services 8].

Invariant: an answer is given only after the call is safe, and it says nothing about the person.
The rules of the request are those of its schema; the rest stands in `services/identify.py`.
"""

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.api.ports import Identify
from appliance.domain.people.messages import read_properties
from appliance.gen.sdk.profiles.v1.profiles_connect import ProfilesSDKService
from appliance.gen.sdk.profiles.v1.profiles_pb import IdentifyRequest, IdentifyResponse


class NamedPersons(ProfilesSDKService):
    """The door for names and traits."""

    def __init__(self, identify: Identify) -> None:
        self._identify = identify

    async def identify(
        self,
        request: IdentifyRequest,
        ctx: RequestContext[IdentifyRequest, IdentifyResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> IdentifyResponse:
        await self._identify.accept(
            current_call.get().caller,
            external_id=request.external_id,
            traits=read_properties(request.traits, field="traits"),
            anonymous_id=request.anonymous_id,
            device_id=request.device_id,
        )
        return IdentifyResponse()
