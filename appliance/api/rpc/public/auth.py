"""`public.auth.v1.AuthService`: sessions, open to everybody [services 5, 13].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from appliance.gen.public.auth.v1.auth_connect import AuthService
from appliance.services.control import ControlPlane


class Auth(AuthService):
    """Signing in and out."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
