"""`dashboard.orgs.v1.OrgsService`: organisations, members, invitations [services 6.2].

Invariant: handlers translate messages only; what happens is decided in `services`, and who may ask
in front of them.
"""

from typing import Final

from connectrpc.request import RequestContext

from appliance.api.call import current_call
from appliance.base.errors import InvalidInputError
from appliance.domain.access.invitations import InvitationState, shown_expiry
from appliance.domain.access.roles import Role
from appliance.gen.dashboard.orgs.v1.orgs_connect import OrgsService
from appliance.gen.dashboard.orgs.v1.orgs_pb import (
    CreateRequest,
    CreateResponse,
    GetRequest,
    GetResponse,
    InvitationStatus,
    InviteMemberRequest,
    InviteMemberResponse,
    LeaveRequest,
    LeaveResponse,
    ListInvitationsRequest,
    ListInvitationsResponse,
    ListMembersRequest,
    ListMembersResponse,
    ListRequest,
    ListResponse,
    Org,
    OrgInvitation,
    OrgMember,
    OrgRole,
    RemoveMemberRequest,
    RemoveMemberResponse,
    ResendInviteRequest,
    ResendInviteResponse,
    RevokeInviteRequest,
    RevokeInviteResponse,
    UpdateDisplayNameRequest,
    UpdateDisplayNameResponse,
    UpdateMemberRoleRequest,
    UpdateMemberRoleResponse,
)
from appliance.services.control import ControlPlane
from appliance.storage.postgres.invitations import InvitationRow
from appliance.storage.postgres.orgs import MemberRow, OrgRow

_WIRE_ROLES: Final = {
    Role.ADMIN: OrgRole.ADMIN,
    Role.MEMBER: OrgRole.MEMBER,
    Role.VIEWER: OrgRole.VIEWER,
}
_ROLES: Final = {wire: role for role, wire in _WIRE_ROLES.items()}
_WIRE_STATES: Final = {
    InvitationState.PENDING: InvitationStatus.PENDING,
    InvitationState.ACCEPTED: InvitationStatus.ACCEPTED,
}


class Orgs(OrgsService):
    """Organisations and their members."""

    def __init__(self, control: ControlPlane) -> None:
        self._organisations = control.organisations
        self._members = control.members
        self._invitations = control.invitations

    async def list(
        self,
        request: ListRequest,  # noqa: ARG002 the message has no fields
        ctx: RequestContext[ListRequest, ListResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> ListResponse:
        rows = await self._organisations.list_of(current_call.get().customer.customer_id)
        return ListResponse(orgs=[_org(row) for row in rows])

    async def get(
        self,
        request: GetRequest,
        ctx: RequestContext[GetRequest, GetResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> GetResponse:
        customer = current_call.get().customer
        row = await self._organisations.load(request.org_id, customer.customer_id)
        return GetResponse(org=_org(row))

    async def create(
        self,
        request: CreateRequest,
        ctx: RequestContext[CreateRequest, CreateResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> CreateResponse:
        row = await self._organisations.create(current_call.get().actor, request.display_name)
        return CreateResponse(org=_org(row))

    async def update_display_name(
        self,
        request: UpdateDisplayNameRequest,
        ctx: RequestContext[UpdateDisplayNameRequest, UpdateDisplayNameResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> UpdateDisplayNameResponse:
        row = await self._organisations.rename(
            current_call.get().actor, request.org_id, request.display_name
        )
        return UpdateDisplayNameResponse(org=_org(row))

    async def leave(
        self,
        request: LeaveRequest,
        ctx: RequestContext[LeaveRequest, LeaveResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> LeaveResponse:
        await self._members.leave(current_call.get().actor, request.org_id)
        return LeaveResponse()

    async def list_members(
        self,
        request: ListMembersRequest,
        ctx: RequestContext[ListMembersRequest, ListMembersResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> ListMembersResponse:
        rows = await self._members.list_members(request.org_id)
        return ListMembersResponse(members=[_member(row) for row in rows])

    async def remove_member(
        self,
        request: RemoveMemberRequest,
        ctx: RequestContext[RemoveMemberRequest, RemoveMemberResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> RemoveMemberResponse:
        await self._members.remove(current_call.get().actor, request.org_id, request.customer_id)
        return RemoveMemberResponse()

    async def update_member_role(
        self,
        request: UpdateMemberRoleRequest,
        ctx: RequestContext[UpdateMemberRoleRequest, UpdateMemberRoleResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> UpdateMemberRoleResponse:
        row = await self._members.change_role(
            current_call.get().actor,
            request.org_id,
            request.customer_id,
            parse_role(request.role),
        )
        return UpdateMemberRoleResponse(member=_member(row))

    async def invite_member(
        self,
        request: InviteMemberRequest,
        ctx: RequestContext[InviteMemberRequest, InviteMemberResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> InviteMemberResponse:
        role = Role.MEMBER if request.role == OrgRole.UNSPECIFIED else parse_role(request.role)
        sent = await self._invitations.invite(
            current_call.get().actor, request.org_id, request.email, role
        )
        return InviteMemberResponse(invitation=_invitation(sent.row))

    async def resend_invite(
        self,
        request: ResendInviteRequest,
        ctx: RequestContext[ResendInviteRequest, ResendInviteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> ResendInviteResponse:
        sent = await self._invitations.resend(
            current_call.get().actor, request.org_id, request.invitation_id
        )
        return ResendInviteResponse(invitation=_invitation(sent.row))

    async def revoke_invite(
        self,
        request: RevokeInviteRequest,
        ctx: RequestContext[RevokeInviteRequest, RevokeInviteResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> RevokeInviteResponse:
        await self._invitations.revoke(
            current_call.get().actor, request.org_id, request.invitation_id
        )
        return RevokeInviteResponse()

    async def list_invitations(
        self,
        request: ListInvitationsRequest,
        ctx: RequestContext[ListInvitationsRequest, ListInvitationsResponse],  # noqa: ARG002 the shape of the library
        /,
    ) -> ListInvitationsResponse:
        rows = await self._invitations.list_invitations(request.org_id)
        return ListInvitationsResponse(invitations=[_invitation(row) for row in rows])


def parse_role(wire: OrgRole) -> Role:
    """The role of a wire value; raises InvalidInputError (`ORG_UNSUPPORTED_ROLE`)."""
    role = _ROLES.get(wire)
    if role is None:
        raise InvalidInputError("ORG_UNSUPPORTED_ROLE", "there is no such role")
    return role


def _org(row: OrgRow) -> Org:
    return Org(id=row.id, display_name=row.display_name, role=_WIRE_ROLES[row.role])


def _member(row: MemberRow) -> OrgMember:
    return OrgMember(
        org_id=row.org_id,
        customer_id=row.customer_id,
        display_name=row.display_name,
        email=row.email,
        role=_WIRE_ROLES[row.role],
    )


def _invitation(row: InvitationRow) -> OrgInvitation:
    return OrgInvitation(
        id=row.id,
        org_id=row.org_id,
        email=row.email,
        role=_WIRE_ROLES[row.role],
        status=_WIRE_STATES[row.state],
        expires_at=shown_expiry(row.expires_at),
    )
