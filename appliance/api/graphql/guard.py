"""The guard in front of every field that asks a service.

Invariant: decided from the registry in `domain/access/permissions.py` alone, before the field is
resolved; what is refused is refused alike whether the thing exists or not. Declaring a field
without an entry in `gates.py` fails when the schema is built.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol, cast

from strawberry import Info
from strawberry.extensions import FieldExtension

from appliance.api.authorize import check_role
from appliance.api.graphql.asker import Asker, Scoped
from appliance.api.graphql.gates import FIELD_GATES, needs_person
from appliance.domain.access.permissions import GATES, Gate, GateKind
from appliance.storage.postgres.orgs import OrgRow


class _OfOrganisation(Protocol):
    @property
    def row(self) -> OrgRow: ...


class Guarded(FieldExtension):
    """Lets a field be resolved when the caller may call its RPC."""

    def __init__(self, field: str) -> None:
        self.field = field
        self.gate: Gate = GATES[FIELD_GATES[field]]

    async def resolve_async(
        self,
        next_: Callable[..., Awaitable[object]],
        source: object,
        info: Info[Asker, None],
        **arguments: object,
    ) -> object:
        """Refuse, or go on."""
        await self._admit(info.context, source, arguments)
        return await next_(source, info, **arguments)

    async def _admit(self, asker: Asker, source: object, arguments: Mapping[str, object]) -> None:
        if needs_person(self.field):
            asker.require_person()
        match self.gate.kind:
            case GateKind.PUBLIC:
                return
            case GateKind.SELF:
                asker.require_person()
            case GateKind.ORG:
                check_role(self.gate, (await _organisation(asker, source, arguments)).role)
            case GateKind.PROJECT:
                scope = (
                    await asker.scope(cast("str", arguments["id"]))
                    if source is None
                    else cast("Scoped", source).scope
                )
                if scope.role is not None:
                    check_role(self.gate, scope.role)
            case GateKind.SDK:
                raise AssertionError("nothing of the SDKs is in the graph")


async def _organisation(asker: Asker, source: object, arguments: Mapping[str, object]) -> OrgRow:
    """The organisation a field is about: the argument of a root field, or whose field it is."""
    if source is None:
        named = arguments.get("organization_id") or arguments.get("id")
        return await asker.organisation(cast("str", named))
    return cast("_OfOrganisation", source).row
