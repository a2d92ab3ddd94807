"""Stands in for `pyqwest`, the HTTP client of connectrpc's generated clients.

The appliance only serves. Its generated modules import the client classes all the same, and with
them 16 MB of a compiled HTTP client, which would be 2 % of the bundle. Whoever makes a client in
the frozen binary gets the error below.
"""

from typing import NoReturn


class _Absent:
    def __init__(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError("this binary serves Connect and has no client for it")


class Client(_Absent):
    """Not here."""


class SyncClient(_Absent):
    """Not here."""


class Headers(_Absent):
    """Not here."""


class Response(_Absent):
    """Not here."""


class SyncResponse(_Absent):
    """Not here."""


class FullResponse(_Absent):
    """Not here."""


class StreamErrorCode(_Absent):
    """Not here."""


class StreamError(Exception):
    """Never raised here."""
