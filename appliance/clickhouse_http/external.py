"""Form bodies: parameters, the query, and tables that exist for one statement.

Invariant: a table's bytes are kept on disk beyond a small size and inserted a piece at a time.
"""

import tempfile
from collections.abc import Iterator, Mapping
from email.message import Message
from functools import partial
from itertools import pairwise
from typing import IO, Final

import msgspec
import multipart

from appliance.clickhouse_http.compression import PIECE_BYTES
from appliance.clickhouse_http.engine import Connection, quote_name
from appliance.clickhouse_http.errors import Codes, EngineError
from appliance.clickhouse_http.feed import insert_rows
from appliance.clickhouse_http.statement import scan

_MEMORY_BYTES_MAX: Final = 4 << 20
_FIELD_BYTES_MAX: Final = 16 << 20
_FILES_MAX: Final = 100
_FORM_BYTES_MAX: Final = 8 << 30


class Upload(msgspec.Struct, kw_only=True):
    """One uploaded table; `rows` is read once."""

    name: str
    rows: IO[bytes]


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded form; field values are Latin-1 readings of their bytes."""

    fields: dict[str, str]
    uploads: list[Upload]


def read_form(content_type: str, pieces: Iterator[bytes]) -> Form:
    """Decode a multipart body; raises EngineError when it is malformed."""
    boundary = _boundary(content_type)
    if not boundary:
        raise EngineError(Codes.BAD_ARGUMENTS, "Bad form: no boundary")
    parser = multipart.PushMultipartParser(
        boundary,
        max_segment_count=_FILES_MAX * 100,
        max_segment_size=_FORM_BYTES_MAX,
        header_charset="latin-1",
    )
    form = Form(fields={}, uploads=[])
    try:
        with parser:
            _collect(parser, pieces, form)
    except multipart.MultipartError as error:
        raise EngineError(Codes.BAD_ARGUMENTS, f"Bad form: {error}") from error
    return form


def _boundary(content_type: str) -> str:
    """The boundary parameter of a multipart content type; empty when there is none."""
    message = Message()
    message["Content-Type"] = content_type
    return message.get_boundary("")


def _collect(parser: multipart.PushMultipartParser, pieces: Iterator[bytes], form: Form) -> None:
    segment: multipart.MultipartSegment | None = None
    target: IO[bytes] | None = None
    for piece in _until_closed(pieces):
        for event in parser.parse(piece):
            if isinstance(event, multipart.MultipartSegment):
                segment = event
                target = tempfile.SpooledTemporaryFile(max_size=_MEMORY_BYTES_MAX)  # noqa: SIM115 closed with the form
            elif event is not None:
                assert target is not None
                target.write(event)
            elif segment is not None and target is not None:
                _keep(form, segment, target)
                segment = target = None


def _until_closed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    yield b""


def _keep(form: Form, segment: multipart.MultipartSegment, target: IO[bytes]) -> None:
    target.seek(0)
    name = segment.name or ""
    if segment.filename is not None:
        if len(form.uploads) >= _FILES_MAX:
            raise EngineError(Codes.BAD_ARGUMENTS, "Bad form: too many tables")
        form.uploads.append(Upload(name=name, rows=target))
        return
    value = target.read(_FIELD_BYTES_MAX + 1)
    target.close()
    if len(value) > _FIELD_BYTES_MAX:
        raise EngineError(Codes.BAD_ARGUMENTS, f"Bad form: field {name} is too large")
    form.fields[name] = value.decode("latin-1")


def own_settings(uploads: list[Upload], settings: Mapping[str, str]) -> dict[str, str]:
    """The settings without those that describe an upload."""
    described = {
        f"{upload.name}_{what}" for upload in uploads for what in ("format", "structure", "types")
    }
    return {name: value for name, value in settings.items() if name not in described}


def create_tables(
    connection: Connection, uploads: list[Upload], settings: Mapping[str, str]
) -> None:
    """Make a temporary table of each upload, as `settings` describe it.

    Raises EngineError when a structure is missing or rows do not fit it.
    """
    connection.temporary_tables = connection.temporary_tables or bool(uploads)
    for upload in uploads:
        structure = settings.get(f"{upload.name}_structure", "")
        types = settings.get(f"{upload.name}_types", "")
        if types and not structure:
            structure = ", ".join(
                f"_{number} {kind}" for number, kind in enumerate(_split(types), start=1)
            )
        if not structure:
            raise EngineError(
                Codes.BAD_ARGUMENTS,
                f"External table {upload.name} has no structure: give {upload.name}_structure or "
                f"{upload.name}_types",
            )
        name = quote_name(upload.name)
        connection.run(f"CREATE TEMPORARY TABLE {name} ({structure}) ENGINE = Memory".encode())
        rows_format = settings.get(f"{upload.name}_format", "") or "TabSeparated"
        insert_rows(
            connection,
            f"INSERT INTO {name}",
            iter(partial(upload.rows.read, PIECE_BYTES), b""),
            rows_format=rows_format,
            kill=_kept_nowhere,
        )
        upload.rows.close()


def drop_tables(connection: Connection, uploads: list[Upload]) -> None:
    """Forget the tables again; for connections that live on."""
    for upload in uploads:
        upload.rows.close()
        connection.run(f"DROP TEMPORARY TABLE IF EXISTS {quote_name(upload.name)}".encode())


def _kept_nowhere() -> bool:
    """Half an upload needs no kill: the failure ends the connection and its temporary tables."""
    return True


def _split(types: str) -> list[str]:
    """Split a list of types at its outer commas."""
    starts = [token.end for token in scan(types) if token.text == "," and token.depth == 0]
    edges = [0, *starts, len(types) + 1]
    return [types[a : b - 1].strip() for a, b in pairwise(edges)]
