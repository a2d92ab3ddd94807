"""`dashboard.orgs.v1.OrgsService`: organisations, members, invitations [services 6.2].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from appliance.gen.dashboard.orgs.v1.orgs_connect import OrgsService
from appliance.services.control import ControlPlane


class Orgs(OrgsService):
    """Organisations and their members."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
