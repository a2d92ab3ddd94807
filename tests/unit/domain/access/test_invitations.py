"""Lifetimes and send limits of invitations [services 3.7]."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from appliance.domain.access.invitations import (
    LIFETIME,
    SENDS_MAX,
    InvitationState,
    may_accept,
    may_send,
    shown_expiry,
)

NOW = datetime(2026, 5, 10, 9, 30, tzinfo=UTC)
DAY = timedelta(hours=24)
MOMENT = timedelta(microseconds=1)


def test_it_holds_for_seven_days():
    assert timedelta(days=7) == LIFETIME


@pytest.mark.parametrize(
    ("count", "age", "allowed"),
    [
        (0, MOMENT, True),
        (SENDS_MAX - 1, MOMENT, True),
        (SENDS_MAX, MOMENT, False),
        (SENDS_MAX, DAY - MOMENT, False),
        (SENDS_MAX, DAY, True),
        (SENDS_MAX * 3, DAY * 2, True),
    ],
)
def test_ten_mails_in_any_day(count: int, age: timedelta, allowed: bool):
    assert may_send([NOW - age] * count, NOW) is allowed


def test_the_day_slides():
    """Nine early mails and one late one: the next is free when the first is a day old."""
    sent = [NOW] * 9 + [NOW + timedelta(hours=23)]
    assert not may_send(sent, NOW + DAY - MOMENT)
    assert may_send(sent, NOW + DAY)


@pytest.mark.parametrize(
    ("state", "left", "allowed"),
    [
        (InvitationState.PENDING, MOMENT, True),
        (InvitationState.PENDING, timedelta(0), False),
        (InvitationState.PENDING, -MOMENT, False),
        (InvitationState.ACCEPTED, MOMENT, False),
    ],
)
def test_accepting(state: InvitationState, left: timedelta, allowed: bool):
    assert may_accept(state, NOW + left, NOW) is allowed


def test_the_expiry_is_shown_in_utc_without_fractions():
    east = timezone(timedelta(hours=5, minutes=30))
    assert shown_expiry(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=east)) == (
        "2026-01-01T21:34:05Z"
    )
