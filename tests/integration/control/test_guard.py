"""Authentication and authorisation in front of every handler [services 2.3, 3.1, 4]."""

import pytest

from appliance.domain.access.roles import Role
from appliance.gen.dashboard.customers.v1.customers_pb import GetMeRequest
from appliance.gen.dashboard.orgs.v1.orgs_pb import UpdateDisplayNameRequest
from tests.support.control import ControlStack, Refusal

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

GET_ME = "dashboard.customers.v1.CustomersService/GetMe"
RENAME = "dashboard.orgs.v1.OrgsService/UpdateDisplayName"


async def refused(control: ControlStack, path: str, message: object, **how: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await control.call(path, message, **how)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize("token", [None, "nonsense", ""])
async def test_a_stranger_is_refused(control: ControlStack, token: str | None):
    refusal = await refused(control, GET_ME, GetMeRequest(), token=token)
    assert (refusal.code, refusal.reason) == ("unauthenticated", "UNAUTHENTICATED")


async def test_an_old_token_is_refused(control: ControlStack):
    person = await control.make_person()
    control.clock.advance(24 * 3600 + 1)
    refusal = await refused(control, GET_ME, GetMeRequest(), token=person.token)
    assert refusal.code == "unauthenticated"


async def test_a_disabled_customer_is_refused_at_once(control: ControlStack):
    person = await control.make_person()
    await control.database.execute(
        "UPDATE customers SET disable_time = now() WHERE id = $1", person.id
    )
    refusal = await refused(control, GET_ME, GetMeRequest(), token=person.token)
    assert refusal.code == "unauthenticated"


async def test_a_foreign_project_is_refused_even_where_none_is_needed(control: ControlStack):
    """[services 3.1]."""
    person = await control.make_person()
    project = await control.make_project(await control.make_org())
    refusal = await refused(control, GET_ME, GetMeRequest(), token=person.token, project=project)
    assert refusal.code == "unauthenticated"


async def test_schema_comes_before_role_and_strangers_learn_nothing(control: ControlStack):
    """[services 2.3, 4]: the same answer for organisations that exist and that do not."""
    viewer = await control.make_person()
    org = await control.make_org()
    bad = UpdateDisplayNameRequest(org_id=org, display_name="")
    assert (await refused(control, RENAME, bad, token=viewer.token)).code == "invalid_argument"
    good = UpdateDisplayNameRequest(org_id=org, display_name="Pack")
    here = await refused(control, RENAME, good, token=viewer.token)
    nowhere = await refused(
        control,
        RENAME,
        UpdateDisplayNameRequest(org_id="x" * 20, display_name="Pack"),
        token=viewer.token,
    )
    assert here.reason == nowhere.reason == "ORG_NOT_A_MEMBER"
    assert here.message == nowhere.message
    await control.join(viewer, org, Role.VIEWER)
    low = await refused(control, RENAME, good, token=viewer.token)
    assert (low.code, low.reason) == ("permission_denied", "ORG_ROLE_FORBIDDEN")


async def test_a_failing_database_is_unavailable(control: ControlStack):
    """Never `unauthenticated`: clients would end the session [services 12 #23]."""
    person = await control.make_person()
    await control.database.execute("ALTER TABLE customers RENAME TO customers_away")
    broken = await refused(control, GET_ME, GetMeRequest(), token=person.token)
    assert broken.code == "unavailable"
