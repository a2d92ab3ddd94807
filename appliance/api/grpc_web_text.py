"""gRPC-Web in its text form: the same bytes in base64, for browsers that cannot read binary.

Invariant: the protocol library sees plain gRPC-Web and never learns of the text form. Pieces of
base64 may be padded one by one, in both directions.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

from litestar.types import HTTPReceiveMessage, Message, Receive, Send

from appliance.api.errors import undecodable

_PIECE: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
BINARY_TYPE: Final = b"application/grpc-web+proto"
_TEXT_TYPE: Final = b"application/grpc-web-text+proto"


def decoded(receive: Receive) -> Receive:
    """`receive` that gives the decoded body in one piece, then whatever comes after it."""
    finished = False

    async def receive_decoded() -> HTTPReceiveMessage:
        nonlocal finished
        text = bytearray()
        while not finished:
            message = await receive()
            if message["type"] != "http.request":
                return message  # pyright: ignore[reportReturnType] # a disconnect, passed on
            text += message["body"]
            if not message["more_body"]:
                finished = True
                return {"type": "http.request", "body": decode(bytes(text)), "more_body": False}
        return await receive()  # pyright: ignore[reportReturnType] # a disconnect, passed on

    return receive_decoded


def encoded(send: Send) -> Send:
    """`send` that puts what is given into base64."""

    async def send_encoded(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (name, _TEXT_TYPE if name == b"content-type" else value)
                for name, value in message["headers"]
            ]
        elif message["type"] == "http.response.body":
            message["body"] = b64encode(message["body"])
        await send(message)

    return send_encoded


def decode(text: bytes) -> bytes:
    """The bytes in one or more pieces of base64. Raises `invalid_argument` for anything else."""
    pieces = _PIECE.findall(text)
    if sum(map(len, pieces)) != len(text):
        raise undecodable("the body is not base64")
    try:
        return b"".join(b64decode(piece, validate=True) for piece in pieces)
    except Base64Error as error:
        raise undecodable("the body is not base64") from error
