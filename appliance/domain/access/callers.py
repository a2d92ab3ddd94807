"""Who calls: the signed-in customer, the project meant, and the actor the audit log names."""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from appliance.domain.access.roles import Role


class ActorKind(StrEnum):
    """What sort of caller did something."""

    CUSTOMER = "customer"
    KEY = "key"
    OPERATOR = "operator"
    SYSTEM = "system"


class Actor(Struct, frozen=True, kw_only=True):
    """Who did something, and from where.

    `id` is a customer's or key's id, empty for others; `label` an e-mail address, the name of an
    operating-system account or of a job; `address` an IP address, empty on the machine itself.
    """

    kind: ActorKind
    id: str = ""
    label: str = ""
    address: str = ""


OPERATOR: Final = Actor(kind=ActorKind.OPERATOR)
"""Whoever may run commands on the machine."""


class ProjectAccess(Struct, frozen=True, kw_only=True):
    """The project a request means, and the caller's role in its organisation."""

    project_id: str
    org_id: str
    timezone: str
    role: Role


class SignedIn(Struct, frozen=True, kw_only=True):
    """A customer with a valid access token; `project` is that of the project header, if sent."""

    customer_id: str
    email: str
    project: ProjectAccess | None = None
