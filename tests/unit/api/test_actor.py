"""Who the audit log says it was."""

from appliance.api.call import Boundary, Call
from appliance.domain.access.callers import Actor, ActorKind
from appliance.services.keys import Principal
from appliance.storage.postgres.projects import KeyKind


def test_a_key_is_named_by_its_id() -> None:
    call = make_call()
    call.principal = Principal(
        project_id="project", timezone="", kind=KeyKind.PRIVATE, key_id="the-key"
    )
    assert call.actor == Actor(kind=ActorKind.KEY, id="the-key", address="192.0.2.1")


def test_before_sign_in_only_the_address_is_known() -> None:
    assert make_call().actor == Actor(kind=ActorKind.CUSTOMER, address="192.0.2.1")


def make_call() -> Call:
    return Call(
        request_id="request",
        boundary=Boundary.SHARED,
        headers={},
        peer="192.0.2.1",
        address="192.0.2.1",
    )
