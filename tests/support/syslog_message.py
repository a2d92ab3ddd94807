"""A strict reader of RFC 5424 messages, written from its grammar (section 6)."""

import re
from datetime import datetime

import msgspec

_HEADER = re.compile(
    r"<(?P<pri>0|[1-9]\d{0,2})>1 "
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d))"
    r" (?P<host>[\x21-\x7e]{1,255}) (?P<app>[\x21-\x7e]{1,48}) (?P<pid>[\x21-\x7e]{1,128})"
    r" (?P<id>[\x21-\x7e]{1,32}) "
)
_NAME = r"[\x21\x23-\x3c\x3e-\x5c\x5e-\x7e]{1,32}"
_PARAMETER = re.compile(rf' ({_NAME})="((?:[^"\\\]]|\\["\\\]])*)"')


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message taken apart."""

    facility: int
    severity: int
    host: str
    app: str
    pid: str
    id: str
    fields: dict[str, str]
    text: str


def parse_message(raw: bytes) -> Message:
    """The parts of a message; an AssertionError says what is against the grammar."""
    text = raw.decode("utf-8")
    head = _HEADER.match(text)
    assert head is not None, text[:200]
    priority = int(head["pri"])
    assert priority <= 191
    datetime.fromisoformat(head["time"])
    position = head.end()
    fields: dict[str, str] = {}
    opening = re.compile(rf"\[{_NAME}").match(text, position)
    if opening is None:
        assert text[position] == "-", text[position:]
        position += 1
    else:
        position = opening.end()
        while parameter := _PARAMETER.match(text, position):
            fields[parameter[1]] = re.sub(r"\\(.)", r"\1", parameter[2])
            position = parameter.end()
        assert text[position] == "]", text[position : position + 80]
        position += 1
    rest = text[position:]
    assert not rest or rest.startswith(" ")
    return Message(
        facility=priority // 8,
        severity=priority % 8,
        host=head["host"],
        app=head["app"],
        pid=head["pid"],
        id=head["id"],
        fields=fields,
        text=rest[1:],
    )


def split_frames(stream: bytes) -> list[bytes]:
    """The messages of a stream with counted octets (RFC 6587, 3.4.1)."""
    messages: list[bytes] = []
    while stream:
        count, space, rest = stream.partition(b" ")
        assert space, stream[:40]
        assert count.isdigit(), stream[:40]
        assert not count.startswith(b"0"), stream[:40]
        assert len(rest) >= int(count), "the last message is not whole"
        messages.append(rest[: int(count)])
        stream = rest[int(count) :]
    return messages
