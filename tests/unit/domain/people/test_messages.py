"""Traits and messages of people, there and back."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from protobuf.wkt import Struct, Timestamp, Value

from appliance.base.errors import InvalidInputError
from appliance.domain.people.messages import (
    Alias,
    Identification,
    ProfileState,
    alias_message,
    identify_message,
    micros_of,
    read_alias,
    read_identification,
    read_properties,
    read_state,
    upsert_message,
    write_properties,
)
from appliance.domain.people.traits import Properties
from appliance.gen.sdk.profiles.v1.profiles_pb import ProfileIdentifyMessage
from appliance.gen.workers.profiles.v1.profiles_pb import ProfileAliasMessage, ProfileUpsertMessage

NOON = datetime(2026, 5, 10, 12, 0, 0, 123456, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(properties=st.dictionaries(TEXT, JSON, max_size=4))
def test_properties_come_back_as_they_were(properties: Properties) -> None:
    sent = Struct.from_binary(write_properties(properties).to_binary())
    assert read_properties(sent, field="traits") == properties


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"n": 2.0}, {"n": 2}),
        ({"n": -0.0}, {"n": 0}),
        ({"n": 1.5}, {"n": 1.5}),
        ({"n": 1e300}, {"n": 1e300}),
        ({"a": ["\0", {"\0": 1, "": "x\0"}], "\0a": 2}, {"a": ["", {"": "x"}]}),
    ],
)
def test_what_the_stores_keep(sent: Properties, kept: Properties) -> None:
    """Whole numbers are integers, U+0000 and keys with it are left out, everything else stays."""
    found = read_properties(Struct.from_python(sent), field="traits")
    assert found == kept
    assert repr(found) == repr(kept)


def test_no_object_is_an_empty_one() -> None:
    assert read_properties(None, field="traits") == {}


def test_a_value_of_no_kind_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        read_properties(Struct(fields={"a": Value()}), field="traits")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_are_refused(number: float) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_properties(Struct.from_python({"deep": [{"n": number}]}), field="traits")
    assert [each.field for each in caught.value.violations] == ["traits"]


def test_messages_come_back_as_they_were() -> None:
    call = Identification(
        project_id="p",
        external_id="e",
        traits={"a": 1},
        anonymous_id="anon-1",
        device_id="d",
        accepted_at=micros_of(NOON),
    )
    message = ProfileIdentifyMessage.from_binary(identify_message(call).to_binary())
    assert read_identification(message, now=NOON) == call
    state = ProfileState(
        project_id="p",
        id="i",
        external_id="e",
        properties={"a": [1]},
        deleted=True,
        created_at=NOON,
        updated_at=NOON,
        version=7,
    )
    assert read_state(ProfileUpsertMessage.from_binary(upsert_message(state).to_binary())) == state
    alias = Alias(project_id="p", alias_id="a", profile_id="i", external_id="e", version=7)
    assert read_alias(ProfileAliasMessage.from_binary(alias_message(alias).to_binary())) == alias


def test_a_call_without_a_time_counts_as_of_now() -> None:
    message = ProfileIdentifyMessage(project_id="p", external_id="e")
    assert read_identification(message, now=NOON).accepted_at == micros_of(NOON)


@pytest.mark.parametrize("seconds", [-(1 << 40), 1 << 40])
def test_times_that_cannot_be_stored_are_refused(seconds: int) -> None:
    with pytest.raises(InvalidInputError):
        read_state(ProfileUpsertMessage(create_time=Timestamp(seconds=seconds)))
