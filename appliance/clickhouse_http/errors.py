"""Errors on the wire, as the original server words and numbers them.

Invariant: every failure a client sees has a code, a name and the text
`Code: N. DB::Exception: … (NAME) (version …)`; the HTTP status follows from the code alone. chDB
words its errors in three ways; this module is the only one that reads such text.
"""

import re
from typing import Final

import msgspec

_TEXT: Final = re.compile(
    r"Code: (?P<code>\d+)\. DB::Exception: (?P<message>.*?)"
    r"(?:\s*\((?P<name>[A-Z][A-Z0-9_]+)\))?"
    r"(?:\s*\(version [^()]*(?:\([^()]*\))?\))?\s*\Z",
    re.DOTALL,
)
_NESTED: Final = re.compile(r"\ACode: \d+\. DB::Exception: ")
_TRAILER: Final = re.compile(
    r"\s*\(version [^()]*(?:\([^()]*\))?\)\.?\s*(?:\(([A-Z0-9_]+)\))?\s*\Z"
)
_REPORTED_AT: Final = re.compile(r"\s*:?\s*While executing CHDB\w*", re.DOTALL)


class Codes:
    """The codes of the original that this room raises by itself."""

    BAD_ARGUMENTS: Final = 36
    NOT_IMPLEMENTED: Final = 48
    SYNTAX_ERROR: Final = 62
    UNKNOWN_FORMAT: Final = 73
    UNKNOWN_TYPE_OF_QUERY: Final = 78
    UNKNOWN_SETTING: Final = 115
    TIMEOUT_EXCEEDED: Final = 159
    READONLY: Final = 164
    TOO_MANY_SIMULTANEOUS_QUERIES: Final = 202
    SOCKET_TIMEOUT: Final = 209
    NETWORK_ERROR: Final = 210
    SUPPORT_IS_DISABLED: Final = 344
    INTO_OUTFILE_NOT_ALLOWED: Final = 358
    QUERY_IS_TOO_LARGE: Final = 307
    SESSION_NOT_FOUND: Final = 372
    SESSION_IS_LOCKED: Final = 373
    INVALID_SESSION_TIMEOUT: Final = 374
    CANNOT_DECOMPRESS: Final = 271
    HTTP_LENGTH_REQUIRED: Final = 381
    QUERY_WAS_CANCELLED: Final = 394
    AUTHENTICATION_FAILED: Final = 516
    QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING: Final = 216
    SERVER_SHUTTING_DOWN: Final = 745
    UNKNOWN: Final = 1002


_NAMES: Final = {value: name for name, value in vars(Codes).items() if isinstance(value, int)} | {
    Codes.UNKNOWN: "UNKNOWN_EXCEPTION"
}

_STATUS: Final[dict[int, int]] = {
    194: 401,
    **dict.fromkeys((192, 193, 497, 512, 516), 403),
    **dict.fromkeys(
        (
            *(6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 69, 72, 117, 167, 168, 223, 224),
            *(238, 376, 427, 441, 675, 676),
        ),
        400,
    ),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 105, 115, 336, 511), 404),
    208: 413,
    307: 413,
    381: 411,
    48: 501,
    159: 408,
    **dict.fromkeys((76, 209, 439), 503),
}
_STATUS_DEFAULT: Final = 500


class EngineError(Exception):
    """A failure of one request; `code` and `name` are the original server's."""

    def __init__(self, code: int, message: str, *, name: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.name = name or _NAMES.get(code, "")
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status the original server gives this code."""
        return _STATUS.get(self.code, _STATUS_DEFAULT)

    def text(self, version: str) -> str:
        """The one line (or more) a client reads."""
        name = f" ({self.name})" if self.name else ""
        return f"Code: {self.code}. DB::Exception: {self.message}{name} (version {version})\n"


class Stopped(EngineError):  # noqa: N818 an ending asked for, not a fault
    """The client went away; nobody is left to read an answer."""


def parse_engine_error(text: str) -> EngineError:
    """The error in the text of a chDB exception, its wrappings removed."""
    start = text.find("Code: ")
    match = _TEXT.match(text, start) if start >= 0 else None
    if match is None:
        return EngineError(Codes.UNKNOWN, text.strip() or "unknown failure of the engine")
    message, name = match["message"], match["name"] or ""
    while (nested := _NESTED.match(message)) is not None:
        message = message[nested.end() :]
        trailer = _TRAILER.search(message)
        if trailer is not None:
            message = message[: trailer.start()]
        if name and message.endswith(f" ({name})"):
            message = message[: -len(name) - 3]
    return EngineError(int(match["code"]), _REPORTED_AT.sub("", message).strip(), name=name)


class Tagged(msgspec.Struct, frozen=True, kw_only=True):
    """How an error is told in a body whose status 200 was sent already."""

    tag: str
    text: str

    def encode(self) -> bytes:
        """The block a client recognises by the tag it was given in the header."""
        message = self.text.encode()
        return (
            b"\r\n__exception__\r\n%(tag)s\r\n%(text)s\n%(size)d %(tag)s\r\n__exception__\r\n"
            % {b"tag": self.tag.encode(), b"text": message.rstrip(b"\n"), b"size": len(message)}
        )
