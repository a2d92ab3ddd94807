"""The error tree."""

from appliance.base.errors import (
    HTTP_STATUS,
    ApplianceError,
    ConnectCode,
    MisconfiguredError,
    UnavailableError,
)


def test_every_code_has_its_http_status() -> None:
    """[services 2.2] sixteen codes, sixteen statuses."""
    assert set(HTTP_STATUS) == set(ConnectCode)


def test_every_kind_has_its_own_code_or_exit_status() -> None:
    """A kind that translates like another would not need to exist."""
    kinds = ApplianceError.__subclasses__()
    translations = {(kind.code, kind.exit_status, kind.transient) for kind in kinds}
    assert len(translations) == len(kinds)


def test_an_error_is_one_line_with_its_remedy() -> None:
    """What, why, what to do."""
    error = MisconfiguredError("PORT_TAKEN", "port 1 is in use", hint="set api.port")
    assert str(error) == "port 1 is in use; set api.port"
    assert str(UnavailableError("UNAVAILABLE", "not now")) == "not now"
