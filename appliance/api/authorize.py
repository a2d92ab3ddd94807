"""Whether a caller may do what is asked [services 4].

Invariant: decided from the registry in `domain/access/permissions.py` alone; refusals are the same
whether or not the organisation exists, and a look-up that fails is no refusal.
"""

from typing import Final

from appliance.api.call import Call
from appliance.api.ports import Access
from appliance.base.errors import ForbiddenError, UnauthenticatedError
from appliance.domain.access.permissions import GATES, Gate, GateKind
from appliance.domain.access.roles import Role

_NOT_A_MEMBER: Final = "you are not a member of this organisation"
_ROLE_TOO_LOW: Final = "your role in this organisation does not allow this"


async def authorize(path: str, request: object, call: Call, access: Access) -> None:
    """Return when the caller may call `path` with this request.

    Raises ForbiddenError (`ORG_NOT_A_MEMBER`, `ORG_ROLE_FORBIDDEN`), UnauthenticatedError when a
    project is needed and none is named, UnavailableError.
    """
    gate = GATES[path]
    match gate.kind:
        case GateKind.PUBLIC | GateKind.SDK | GateKind.SELF:
            return
        case GateKind.PROJECT:
            _check_project(gate, call)
        case GateKind.ORG:
            org_id = getattr(request, "org_id", "")
            assert isinstance(org_id, str)
            role = await access.role(org_id, call.customer.customer_id)
            check_role(gate, role)


def _check_project(gate: Gate, call: Call) -> None:
    if call.principal is None:
        raise UnauthenticatedError("UNAUTHENTICATED", "a project is needed: send x-project-id")
    if call.signed_in is not None and call.signed_in.project is not None:
        check_role(gate, call.signed_in.project.role)


def check_role(gate: Gate, role: Role | None) -> None:
    """Raise ForbiddenError (`ORG_NOT_A_MEMBER`, `ORG_ROLE_FORBIDDEN`) unless the role opens it."""
    if role is None:
        raise ForbiddenError("ORG_NOT_A_MEMBER", _NOT_A_MEMBER)
    if not gate.admits(role):
        raise ForbiddenError("ORG_ROLE_FORBIDDEN", _ROLE_TOO_LOW)
