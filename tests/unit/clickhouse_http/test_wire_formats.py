"""Bytes: compression, frames, Native headers, error texts, credentials, admission."""

import base64
import os
import threading

import lz4.frame
import pytest

from appliance.clickhouse_http.compression import choose_encoding, decode, make_encoder
from appliance.clickhouse_http.errors import EngineError, Tagged, parse_engine_error
from appliance.clickhouse_http.formats import content_type
from appliance.clickhouse_http.limits import Admission
from appliance.clickhouse_http.native import Column, restore_zones, split_blocks
from appliance.clickhouse_http.native_frames import FrameEncoder, decode_frames
from appliance.clickhouse_http.request import Credentials, build_request, parse_target
from appliance.clickhouse_http.wire import Head

_PLAIN = b"".join(b"%d\trow\n" % number for number in range(30_000))


def _pieces(raw: bytes, size: int) -> list[bytes]:
    return [raw[start : start + size] for start in range(0, len(raw), size)]


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "lz4", "br", "xz", "bz2"])
@pytest.mark.parametrize("size", [1, 777, 1 << 20])
def test_compression_round_trip(name: str, size: int) -> None:
    encoder = make_encoder(name)
    plain = _PLAIN[: 2000 if size == 1 else None]
    packed = b"".join(
        [*(encoder.compress(piece) for piece in _pieces(plain, 1000)), encoder.flush()]
    )
    assert b"".join(decode(name, iter(_pieces(packed, size)))) == plain
    with pytest.raises(EngineError):
        list(decode(name, iter([packed[: len(packed) // 2]])))


def test_frames_one_after_the_other() -> None:
    packed = lz4.frame.compress(b"a") + lz4.frame.compress(b"b")
    assert b"".join(decode("lz4", iter([packed]))) == b"ab"
    assert b"".join(decode("", iter([b"x"]))) == b"x"
    with pytest.raises(EngineError):
        list(decode("unheard-of", iter([b"x"])))


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("gzip;q=0", ""),
        ("lz4,zstd,br,gzip", "lz4"),
        ("gzip, deflate, zstd", "gzip"),
        ("nothing", ""),
    ],
)
def test_choice_of_encoding(accepted: str, chosen: str) -> None:
    assert choose_encoding(accepted) == chosen


def test_block_frames() -> None:
    encoder = FrameEncoder()
    packed = encoder.compress(_PLAIN) + encoder.flush()
    assert b"".join(decode_frames(iter(_pieces(packed, 100)))) == _PLAIN
    broken = bytearray(packed)
    broken[40] ^= 1
    for damaged in (bytes(broken), packed[:-1], b"\xff" * 64):
        with pytest.raises(EngineError):
            list(decode_frames(iter([damaged])))


def _block(*columns: tuple[bytes, bytes, bytes], rows: int = 1) -> bytes:
    raw = bytes([len(columns), rows])
    for name, kind, values in columns:
        raw += bytes([len(name)]) + name + bytes([len(kind)]) + kind + values
    return raw


def test_zones_are_restored_in_headers_only() -> None:
    """A value that looks like a header stays as it is."""
    trap = bytes([12]) + b"\x01t\x08DateTime" + b"x"
    columns = [
        Column(name=b"s", type=b"String"),
        Column(name=b"t", type=b"DateTime('Asia/Tokyo')"),
        Column(name=b"u", type=b"DateTime"),
    ]
    before = _block(
        (b"s", b"String", trap),
        (b"t", b"DateTime", b"\1\2\3\4"),
        (b"u", b"DateTime", b"\5\6\7\x08"),
    )
    after = _block(
        (b"s", b"String", trap),
        (b"t", b"DateTime('Asia/Tokyo')", b"\1\2\3\4"),
        (b"u", b"DateTime", b"\5\6\7\x08"),
    )
    assert restore_zones(before, columns) == after
    assert restore_zones(before, []) == before


def test_blocks_are_split() -> None:
    one = _block((b"a", b"String", b"\x02hi"), (b"n", b"Nullable(UInt8)", b"\0\7"))
    two = _block((b"l", b"Array(UInt16)", (2).to_bytes(8, "little") + b"\1\0\2\0"))
    assert split_blocks(one + two) == [one, two]
    assert split_blocks(b"") == []
    odd = _block((b"v", b"Variant(UInt8)", b"???"))
    assert split_blocks(odd) == [odd]


@pytest.mark.parametrize(
    ("text", "code", "name", "message"),
    [
        ("Code: 60. DB::Exception: No table. (UNKNOWN_TABLE)", 60, "UNKNOWN_TABLE", "No table."),
        (
            "Code: 27. DB::Exception: Bad (x): row 1\n. (CANNOT_PARSE) (version 26.9.2.1)",
            27,
            "CANNOT_PARSE",
            "Bad (x): row 1\n.",
        ),
        (
            (
                "Code: 115. DB::Exception: Code: 115. DB::Exception: Unknown 'x'. "
                "(UNKNOWN_SETTING) (version 26.9.2.1). (UNKNOWN_SETTING)"
            ),
            115,
            "UNKNOWN_SETTING",
            "Unknown 'x'.",
        ),
        ("something else", 1002, "UNKNOWN_EXCEPTION", "something else"),
    ],
)
def test_engine_errors(text: str, code: int, name: str, message: str) -> None:
    error = parse_engine_error(text)
    assert (error.code, error.name, error.message) == (code, name, message)


def test_tagged_error() -> None:
    raw = Tagged(tag="abcdefghijklmnop", text="Code: 1.\n").encode()
    assert raw == (
        b"\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 1.\n"
        b"9 abcdefghijklmnop\r\n__exception__\r\n"
    )


def test_content_types() -> None:
    assert content_type("JSONEachRow").startswith("application/x-ndjson")
    assert content_type("JSONCompact").startswith("application/json")
    assert content_type("TSVWithNames").startswith("text/tab-separated-values")
    assert content_type("Native") == "application/octet-stream"


def _head(target: str = "/", **headers: str) -> Head:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head(method="POST", target=target, headers=named)


def test_credentials() -> None:
    right = Credentials(user="pug", password="zoë")
    token = base64.b64encode("pug:zoë".encode()).decode()
    right.check(_head(authorization=f"Basic {token}"), {})
    for head, parameters in (
        (_head(authorization="Basic x"), {}),
        (_head(authorization="Digest x"), {}),
        (_head(x_clickhouse_user="pug"), {}),
        (_head(authorization=f"Basic {token}"), {"user": "pug"}),
        (_head(), {}),
    ):
        with pytest.raises(EngineError) as caught:
            right.check(head, parameters)
        assert caught.value.status == 403


def test_request_sorts_parameters() -> None:
    head = _head(
        "/?query=SELECT+1&max_threads=2&param_x=%C3%A9&query_id=q&date_time_input_format=b"
    )
    path, parameters = parse_target(head)
    request = build_request(head, parameters, fresh_id="fresh")
    assert path == "/"
    assert request.query == "SELECT 1"
    assert request.settings == {"max_threads": "2", "date_time_input_format": "b"}
    assert request.parameters == {"x": "é"}
    assert request.query_id == "q"
    with pytest.raises(EngineError):
        build_request(head, {"session_timeout": "5000"}, fresh_id="f")
    with pytest.raises(EngineError):
        build_request(head, {"buffer_size": "-1"}, fresh_id="f")


def test_admission_is_bounded() -> None:
    gate = Admission(queries_max=1, wait_seconds_max=0.01)
    with gate.admitted(), pytest.raises(EngineError) as caught, gate.admitted():
        pass
    assert caught.value.code == 202
    with gate.admitted():
        entered = threading.Event()
        patient = Admission(queries_max=1, wait_seconds_max=5)
        with patient.admitted():
            thread = threading.Thread(target=lambda: [entered.set() for _ in [patient.admitted()]])
            thread.start()
            thread.join()
    assert entered.is_set()


def test_frame_of_random_bytes() -> None:
    encoder = FrameEncoder()
    raw = os.urandom(3_000_000)
    packed = encoder.compress(raw) + encoder.flush()
    assert b"".join(decode_frames(iter([packed]))) == raw
