"""`dashboard.customers.v1.CustomersService`: the signed-in customer [services 6.1].

Invariant: handlers translate messages only; what happens is decided in `services`.
"""

from appliance.gen.dashboard.customers.v1.customers_connect import CustomersService
from appliance.services.control import ControlPlane


class Customers(CustomersService):
    """One's own account."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
