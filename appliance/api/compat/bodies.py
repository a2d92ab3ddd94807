"""Bodies of other products' clients: packed, wrapped and labelled in every way seen so far.

Invariant: what a body is, its bytes decide and not its labels, which are wrong too often
[compat-ingest 1, 2]; nothing unpacks to more than the limit; a body nobody can read is refused as
`invalid_argument`, upon which every client gives it up.
"""

import zlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

import msgspec
from litestar.types import Receive

from appliance.api.errors import undecodable
from appliance.api.limits import BoundedGzip, BoundedZstd, discard, limited, too_large, whole_body

FIELDS_MAX: Final = 64
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_FORM: Final = b"data="
_LAYERS_MAX: Final = 3
_DEFLATED: Final = "deflate"


def read_query(query: bytes) -> Mapping[str, str]:
    """The fields of a query, of a repeated one the first; none for what cannot be read."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        return {}
    return dict(reversed(pairs))


class Incoming:
    """The body of one request on its way in, of at most `bytes_max` bytes."""

    def __init__(self, receive: Receive, bytes_max: int) -> None:
        self._receive = receive
        self._bounded = limited(receive, bytes_max)
        self._bytes_max = bytes_max
        self._complete = False

    async def read(self) -> bytes:
        """The whole body; raises ConnectError when it is too large, too slow or cut."""
        body = await whole_body(self._bounded)
        if body is None:
            raise undecodable("the body is cut")
        self._complete = True
        return body

    async def discard(self) -> None:
        """Let the rest of the body come in and keep nothing of it."""
        if not self._complete:
            await discard(self._receive, self._bytes_max)


def decode(body: bytes, *, encoding: str, bytes_max: int) -> object:
    """The JSON value in a body; raises ConnectError when there is none."""
    if encoding.strip().lower() == _DEFLATED:
        body = _inflate(body, bytes_max)
    body = unwrap(body, bytes_max)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise undecodable("the body is not JSON") from error


def unwrap(body: bytes, bytes_max: int) -> bytes:
    """The JSON text inside of gzip, Zstandard, a form field and base64, in the order met."""
    for _ in range(_LAYERS_MAX):
        if body.startswith(_GZIP):
            body = BoundedGzip(bytes_max).decompress(body)
        elif body.startswith(_ZSTD):
            body = BoundedZstd(bytes_max).decompress(body)
        elif body.startswith(_FORM):
            body = _form_field(body)
        elif body.lstrip()[:1] not in b"{[" and body:
            body = _from_base64(body)
        else:
            return body
    return body


def _form_field(body: bytes) -> bytes:
    """The field `data`, in which a plus sign nobody escaped is one."""
    try:
        pairs = parse_qsl(body.decode("ascii"), max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise undecodable("the body is no form") from error
    text = next((value for name, value in pairs if name == "data"), "")
    return text.encode("utf-8", "replace") if text[:1] in "{[" else text.replace(" ", "+").encode()


def _from_base64(body: bytes) -> bytes:
    try:
        return b64decode(body.strip() + b"=" * (-len(body.strip()) % 4), validate=True)
    except (Base64Error, ValueError) as error:
        raise undecodable("the body is not JSON") from error


def _inflate(body: bytes, bytes_max: int) -> bytes:
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(body, bytes_max + 1)
    except zlib.error as error:
        raise undecodable("the body is not deflated") from error
    if len(plain) > bytes_max:
        raise too_large(bytes_max)
    return plain
