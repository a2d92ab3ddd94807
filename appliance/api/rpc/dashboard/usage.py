"""`dashboard.usage.v1.UsageService`: how many events were taken [services 13].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from appliance.gen.dashboard.usage.v1.usage_connect import UsageService
from appliance.services.control import ControlPlane


class Usage(UsageService):
    """Metered usage."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
