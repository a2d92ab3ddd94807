"""Two organisations in one database: the attacker's own, and one with something to hide.

Invariant: everything of the other organisation carries the word `SECRET`, so that one look at an
answer tells whether something leaked, and `others_state` is all of its rows.
"""

import json
from collections.abc import Mapping
from typing import Final

import httpx
import msgspec

from appliance.api.app import create_app
from appliance.config.model import Settings
from appliance.domain.access.roles import Role
from tests.support.control import ADDRESS, ControlStack, Person
from tests.support.rpc import Json

SECRET: Final = "secret"
_ROWS: Final = {
    "orgs": "id = $1",
    "org_members": "org_id = $1",
    "org_invitations": "org_id = $1",
    "org_email_providers": "org_id = $1",
    "projects": "org_id = $1",
    "api_keys": "project_id IN (SELECT id FROM projects WHERE org_id = $1)",
    "customers": "email LIKE 'secret%'",
    "refresh_tokens": "customer_id IN (SELECT id FROM customers WHERE email LIKE 'secret%')",
    "dashboards": "project_id IN (SELECT id FROM projects WHERE org_id = $1)",
}
_VOLATILE: Final = ("last_use_time",)


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The ids of one organisation's things, by the name of the field that asks for one."""

    admin: Person
    member: Person
    ids: Mapping[str, str]


class Worlds:
    """The attacker's side, the other side, and the application between them."""

    def __init__(self, control: ControlStack, mine: Side, others: Side) -> None:
        self.control = control
        self.mine = mine
        self.others = others
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(
                create_app(control.services, Settings(), clock=control.clock),  # type: ignore[arg-type] ASGI, spelt by another library
                client=(ADDRESS, 4711),
            ),
            base_url="http://pug.test",
        )

    async def post(
        self, path: str, body: object, *, token: str = "", project: str = ""
    ) -> httpx.Response:
        """One call in JSON form."""
        return await self.post_raw(path, json.dumps(body).encode(), token=token, project=project)

    async def post_raw(
        self, path: str, content: bytes, *, token: str = "", project: str = ""
    ) -> httpx.Response:
        """One call whose body claims to be JSON."""
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        if project:
            headers["x-project-id"] = project
        return await self._client.post(f"/{path}", content=content, headers=headers)

    async def others_state(self) -> Json:
        """All rows of the other organisation."""
        org = self.others.ids["org_id"]
        state: Json = {}
        for table, where in _ROWS.items():
            values = (org,) if "$1" in where else ()
            rows = await self.control.database.rows(
                f"SELECT to_jsonb(t) AS row FROM {table} AS t WHERE {where}"  # type: ignore[arg-type]
                " ORDER BY to_jsonb(t)::text",
                *values,
            )
            state[table] = [
                {
                    key: value
                    for key, value in json.loads(str(row["row"])).items()
                    if key not in _VOLATILE
                }
                for row in rows
            ]
        return state

    async def reinstate(self) -> None:
        """Make the attacker an admin of their own organisation again, whatever they did to it."""
        await self.control.database.execute(
            "INSERT INTO orgs (id, display_name) VALUES ($1, 'Mine') ON CONFLICT DO NOTHING",
            self.mine.ids["org_id"],
        )
        await self.control.database.execute(
            "INSERT INTO org_members (org_id, customer_id, role) VALUES ($1, $2, $3)"
            " ON CONFLICT (org_id, customer_id) DO UPDATE SET role = $3",
            self.mine.ids["org_id"],
            self.mine.admin.id,
            Role.ADMIN.stored,
        )


async def make_worlds(control: ControlStack) -> Worlds:
    """Both sides, the other one full of secrets."""
    return Worlds(control, await _make_side(control, "mine"), await _make_side(control, SECRET))


async def _make_side(control: ControlStack, word: str) -> Side:
    org = await control.make_org(f"{word} org")
    admin = await control.make_person(f"{word}-admin@pug.test")
    member = await control.make_person(f"{word}-member@pug.test")
    await control.join(admin, org, Role.ADMIN)
    await control.join(member, org, Role.MEMBER)
    project = await control.make_project(org, f"{word} shop")
    key, invitation = f"{word:k<20}"[:20], f"{word:i<20}"[:20]
    execute = control.database.execute
    await execute(
        "INSERT INTO api_keys (id, project_id, kind, display_name, masked, token)"
        " VALUES ($1, $2, 'public', $3, 'pub_...0000', $4)",
        key,
        project,
        f"{word} key",
        f"pub_{word:0<20}"[:24],
    )
    await execute(
        "INSERT INTO org_invitations (id, org_id, email, inviter_id, token, expire_time)"
        " VALUES ($1, $2, $3, $4, $5, now() + interval '100 years')",
        invitation,
        org,
        f"{word}-guest@pug.test",
        admin.id,
        f"{word:t<32}"[:32],
    )
    await execute(
        "INSERT INTO org_email_providers (org_id, kind, from_address, encrypted_config)"
        " VALUES ($1, 'ORG_EMAIL_PROVIDER_KIND_SMTP', $2, '\\x00')",
        org,
        f"{word}-sender@pug.test",
    )
    return Side(
        admin=admin,
        member=member,
        ids={
            "org_id": org,
            "project_id": project,
            "customer_id": member.id,
            "member_id": member.id,
            "invitation_id": invitation,
            "api_key_id": key,
            "id": key,
            "email": f"{word}-guest@pug.test",
        },
    )
