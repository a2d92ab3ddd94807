"""The fingerprint of the code behind the engines."""

import pytest

from appliance.lifecycle.engine_code import _parts, engine_code

SOURCE = "import os\n\ndef port(name: str) -> int:\n    return {'nats': 4222}[name]\n"


def fingerprint(source: str) -> list[bytes]:
    return list(_parts(compile(source, "one.py", "exec")))


def test_every_engine_has_one_that_stays() -> None:
    found = engine_code()
    assert set(found) == {"postgres", "nats", "clickhouse"}
    assert len(set(found.values())) == 3
    assert engine_code() == found


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ("# A remark.\n\n" + SOURCE, True),
        (SOURCE.replace("4222", "4223"), False),
        (SOURCE.replace("'nats'", "'queue'"), False),
        (SOURCE.replace("return", "yield"), False),
    ],
)
def test_only_behaviour_counts(source: str, same: bool) -> None:
    assert (fingerprint(source) == fingerprint(SOURCE)) is same
