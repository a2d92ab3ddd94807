"""Takes a body apart into a statement and its rows.

Invariant: no more of a body is read than it takes to know what the statement is; rows stay streams.
Where next: `statement.py` for the text, `run.py` for what happens with both.
"""

from collections.abc import Iterator
from typing import Final

from appliance.clickhouse_http.compression import decode
from appliance.clickhouse_http.errors import Codes, EngineError
from appliance.clickhouse_http.native_frames import decode_frames
from appliance.clickhouse_http.request import Request
from appliance.clickhouse_http.statement import Plan, is_insert, plan_statement
from appliance.clickhouse_http.wire import Exchange

HEAD_BYTES: Final = 1 << 20
"""How much of a body is read to find out what the statement is."""
TEXT_BYTES_MAX: Final = 16 << 20


def decoded(request: Request, exchange: Exchange) -> Iterator[bytes]:
    """The plain bytes of a request's body as they arrive; raises EngineError when damaged."""
    pieces = decode(request.content_encoding, exchange.pieces())
    return decode_frames(pieces) if request.native_decompress else pieces


def read_statement(request: Request, pieces: Iterator[bytes]) -> tuple[Plan, Iterator[bytes]]:
    """The plan of a request's statement, and the rows that follow it.

    The text stands in the URL, in the body, or begins in one and goes on in the other. Only as much
    of the body is read as is needed to know.
    """
    if request.query.strip():
        plan = _plan_insert_in_url(request.query)
        if plan is not None:
            inline = request.query[plan.data_start :].encode("latin-1")
            return plan, _joined(inline, pieces)
    head = bytearray()
    ended = True
    for piece in pieces:
        head += piece
        if len(head) >= HEAD_BYTES:
            ended = False
            break
    prefix = request.query + "\n" if request.query.strip() else ""
    text = prefix + head.decode("latin-1")
    if not ended and not is_insert(text):
        text = _whole(text, pieces)
    plan = plan_statement(text)
    rows = text[plan.data_start :].encode("latin-1") if plan.data_start >= 0 else b""
    return plan, _joined(rows, pieces)


def _plan_insert_in_url(query: str) -> Plan | None:
    if not is_insert(query):
        return None
    plan = plan_statement(query)
    return plan if plan.data_start >= 0 else None


def _whole(text: str, pieces: Iterator[bytes]) -> str:
    parts = [text]
    size = len(text)
    for piece in pieces:
        size += len(piece)
        if size > TEXT_BYTES_MAX:
            raise EngineError(Codes.QUERY_IS_TOO_LARGE, "The query is too large")
        parts.append(piece.decode("latin-1"))
    return "".join(parts)


def _joined(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if first:
        yield first
    yield from pieces
