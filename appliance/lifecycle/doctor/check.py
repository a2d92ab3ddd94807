"""What a check is, and what it finds.

Invariant: a check is a pure function of the gathered facts; it says nothing when it does not apply
here, one `ok` when all is well, and else a cause and a remedy of one line each for every problem.
How to add one: `docs/recipes/add-a-doctor-check.md`.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

from appliance.lifecycle.doctor.facts import Facts, Mode, Subject


class Severity(StrEnum):
    """How bad a finding is; the gravest first."""

    FAILED = "failed"
    WARNING = "warning"
    NOTE = "note"
    OK = "ok"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a check says: how bad it is, why, and what to do about it."""

    severity: Severity
    cause: str
    remedy: str = ""


Judge = Callable[[Facts], Iterator[Verdict]]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One question about an installation; `question` is the first cell of its row in the manual."""

    name: str
    subject: Subject
    question: str
    judge: Judge


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    check: str
    subject: Subject
    severity: Severity
    cause: str
    remedy: str = ""


def ok(cause: str) -> Verdict:
    """All is well."""
    return Verdict(severity=Severity.OK, cause=cause)


def note(cause: str, remedy: str) -> Verdict:
    """Worth knowing; nothing is at risk."""
    return Verdict(severity=Severity.NOTE, cause=cause, remedy=remedy)


def warning(cause: str, remedy: str) -> Verdict:
    """It works, and something can go wrong."""
    return Verdict(severity=Severity.WARNING, cause=cause, remedy=remedy)


def failed(cause: str, remedy: str) -> Verdict:
    """It does not work, or what is stored is at risk."""
    return Verdict(severity=Severity.FAILED, cause=cause, remedy=remedy)


def advice(facts: Facts, cause: str, remedy: str) -> Verdict:
    """A warning for an installed appliance, a note for one that somebody tries out."""
    return warning(cause, remedy) if facts.place.mode is Mode.INSTALLED else note(cause, remedy)
