"""What one HTTP request asks for.

Invariant: every parameter of the URL, the form and the headers is either named here or a setting of
the engine, which refuses what it does not know. Where next: `run.py`.
"""

import base64
import binascii
import hmac
import urllib.parse
from collections.abc import Mapping
from typing import Final

import msgspec

from appliance.clickhouse_http.errors import Codes, EngineError
from appliance.clickhouse_http.wire import Head

_OWN: Final = frozenset(
    {"query", "database", "default_format", "query_id", "session_id", "session_timeout"}
    | {"session_check", "close_session", "user", "password", "quota_key", "role", "compress"}
    | {"decompress", "buffer_size", "wait_end_of_query", "stacktrace", "client_protocol_version"}
    | {"enable_http_compression", "http_zlib_compression_level", "send_progress_in_http_headers"}
    | {"http_headers_progress_interval_ms", "add_http_cors_header", "http_response_buffer_size"}
    | {"cancel_http_readonly_queries_on_client_close", "http_wait_end_of_query"}
    | {"http_write_exception_in_output_format", "http_response_headers", "log_queries_probability"}
)
_READONLY_METHODS: Final = frozenset({"GET", "HEAD"})
_SESSION_SECONDS_DEFAULT: Final = 60
_SESSION_SECONDS_MAX: Final = 3600
_BUFFER_BYTES_DEFAULT: Final = 1 << 20
_BUFFER_BYTES_MAX: Final = 64 << 20


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Who may speak to the engine."""

    user: str
    password: str

    def check(self, head: Head, parameters: Mapping[str, str]) -> None:
        """Raise EngineError 516 unless the request carries exactly these credentials."""
        user, password = _presented(head, parameters)
        right_user = hmac.compare_digest(user.encode(), self.user.encode())
        right_password = hmac.compare_digest(password.encode(), self.password.encode())
        if not (right_user and right_password):
            raise EngineError(
                Codes.AUTHENTICATION_FAILED,
                f"{user}: Authentication failed: password is incorrect, "
                "or there is no user with such name",
            )


def _presented(head: Head, parameters: Mapping[str, str]) -> tuple[str, str]:
    header_user = head.headers.get("x-clickhouse-user")
    header_key = head.headers.get("x-clickhouse-key")
    authorization = head.headers.get("authorization", "")
    in_url = "user" in parameters or "password" in parameters
    ways = (header_user is not None or header_key is not None, bool(authorization), in_url)
    if sum(ways) > 1:
        raise EngineError(
            Codes.AUTHENTICATION_FAILED,
            "Invalid authentication: only one way of giving credentials may be used at a time",
        )
    if authorization:
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            raise EngineError(
                Codes.AUTHENTICATION_FAILED,
                f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported",
            )
        try:
            plain = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise EngineError(
                Codes.AUTHENTICATION_FAILED, "Invalid authentication: malformed credentials"
            ) from error
        user, _, password = plain.partition(":")
        return user, password
    if ways[0]:
        return header_user or "default", header_key or ""
    return parameters.get("user", "default"), parameters.get("password", "")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request for one statement, everything but its text and rows."""

    query: str
    database: str
    query_id: str
    default_format: str
    readonly: bool
    settings: dict[str, str]
    parameters: dict[str, str]
    session_id: str
    session_seconds: int
    session_must_exist: bool
    session_ends: bool
    protocol_version: int
    wait_end: bool
    buffer_bytes: int
    accept_encoding: str
    content_encoding: str
    native_compress: bool
    native_decompress: bool
    zlib_level: int | None
    method: str
    origin: str


def parse_target(head: Head) -> tuple[str, dict[str, str]]:
    """Path and parameters of the URL; a parameter given twice counts once, the last."""
    path, _, query = head.target.partition("?")
    if "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    pairs = urllib.parse.parse_qsl(
        query, keep_blank_values=True, encoding="latin-1", max_num_fields=10_000
    )
    return path, dict(pairs)


def build_request(head: Head, parameters: Mapping[str, str], *, fresh_id: str) -> Request:
    """Sort the parameters into what they are for; raises EngineError for impossible values.

    Values are Latin-1 readings of bytes, as everywhere in this room.
    """
    given = {
        name: value.encode("latin-1").decode(errors="replace")
        for name, value in parameters.items()
        if name != "query"
    }
    headers = head.headers
    compressed = _truth(given.get("enable_http_compression", ""))
    level = given.get("http_zlib_compression_level", "")
    return Request(
        query=parameters.get("query", ""),
        database=given.get("database") or headers.get("x-clickhouse-database", ""),
        query_id=given.get("query_id") or headers.get("x-clickhouse-query-id", "") or fresh_id,
        default_format=given.get("default_format") or headers.get("x-clickhouse-format", ""),
        readonly=head.method in _READONLY_METHODS,
        settings={
            name: value
            for name, value in given.items()
            if name not in _OWN and not name.startswith("param_")
        },
        parameters={
            name.removeprefix("param_"): value
            for name, value in given.items()
            if name.startswith("param_")
        },
        session_id=given.get("session_id", ""),
        session_seconds=_session_seconds(given.get("session_timeout", "")),
        session_must_exist=_truth(given.get("session_check", "")),
        session_ends=_truth(given.get("close_session", "")),
        protocol_version=_number(given.get("client_protocol_version", "")),
        wait_end=_truth(given.get("wait_end_of_query", ""))
        or _truth(given.get("http_wait_end_of_query", "")),
        buffer_bytes=min(
            _number(given.get("buffer_size", "")) or _BUFFER_BYTES_DEFAULT, _BUFFER_BYTES_MAX
        ),
        accept_encoding=headers.get("accept-encoding", "") if compressed else "",
        content_encoding=headers.get("content-encoding", "").strip().lower(),
        native_compress=_truth(given.get("compress", "")),
        native_decompress=_truth(given.get("decompress", "")),
        zlib_level=_number(level) if level else None,
        method=head.method,
        origin=headers.get("origin", ""),
    )


def _truth(text: str) -> bool:
    return text.lower() in {"1", "true", "yes", "on"}


def _number(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise EngineError(Codes.BAD_ARGUMENTS, f"Cannot parse {text!r} as a number")
    return int(text)


def _session_seconds(text: str) -> int:
    seconds = _number(text) or _SESSION_SECONDS_DEFAULT
    if seconds > _SESSION_SECONDS_MAX:
        raise EngineError(
            Codes.INVALID_SESSION_TIMEOUT,
            f"Session timeout '{seconds}' is larger than max_session_timeout: "
            f"{_SESSION_SECONDS_MAX}",
        )
    return seconds
