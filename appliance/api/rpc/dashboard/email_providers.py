"""`dashboard.orgemailproviders.v1.OrgEmailProvidersService`: an organisation's mail [services 6.5].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from appliance.gen.dashboard.orgemailproviders.v1.orgemailproviders_connect import (
    OrgEmailProvidersService,
)
from appliance.services.control import ControlPlane


class EmailProviders(OrgEmailProvidersService):
    """The mail provider of an organisation."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
