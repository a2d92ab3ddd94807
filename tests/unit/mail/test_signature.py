"""The signature against examples that AWS published: its test suite and its IAM walk-through."""

from datetime import UTC, datetime

import pytest

from appliance.domain.mail.signature import AwsIdentity, Scope, canonical_request, signed_headers

IDENTITY = AwsIdentity(key_id="AKIDEXAMPLE", secret="wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
SUITE = Scope(region="us-east-1", service="service")
IAM = Scope(region="us-east-1", service="iam")
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
HOST = "https://example.amazonaws.com"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
FORM_UTF8 = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}


@pytest.mark.parametrize(
    ("method", "url", "headers", "body", "scope", "signature"),
    [
        pytest.param(
            *("GET", f"{HOST}/", {}, b"", SUITE),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            id="get-vanilla",
        ),
        pytest.param(
            *("GET", f"{HOST}/?Param2=value2&Param1=value1", {}, b"", SUITE),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            id="get-vanilla-query-order-key-case",
        ),
        pytest.param(
            *("POST", f"{HOST}/", {}, b"", SUITE),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            id="post-vanilla",
        ),
        pytest.param(
            *("POST", f"{HOST}/", FORM, b"Param1=value1", SUITE),
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            id="post-x-www-form-urlencoded",
        ),
        pytest.param(
            "GET",
            "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
            *(FORM_UTF8, b"", IAM),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
            id="iam-list-users",
        ),
    ],
)
def test_the_published_examples(
    method: str, url: str, headers: dict[str, str], body: bytes, scope: Scope, signature: str
):
    signed = signed_headers(
        method=method, url=url, headers=headers, body=body, identity=IDENTITY, scope=scope, now=NOW
    )
    assert signed["authorization"].endswith(f"Signature={signature}")
    assert f"/20150830/us-east-1/{scope.service}/aws4_request" in signed["authorization"]


def test_the_canonical_form_of_the_walk_through():
    """As the walk-through prints it, line by line."""
    text = canonical_request(
        method="GET",
        url="https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
        headers={
            "content-type": FORM_UTF8["Content-Type"],
            "host": "iam.amazonaws.com",
            "x-amz-date": "20150830T123600Z",
        },
        body=b"",
    )
    assert text.splitlines() == [
        "GET",
        "/",
        "Action=ListUsers&Version=2010-05-08",
        "content-type:application/x-www-form-urlencoded; charset=utf-8",
        "host:iam.amazonaws.com",
        "x-amz-date:20150830T123600Z",
        "",
        "content-type;host;x-amz-date",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ]


def test_a_session_token_is_signed_and_secrets_stay_out_of_sight():
    identity = AwsIdentity(key_id="A", secret="hidden", token="session")
    signed = signed_headers(
        method="POST", url=HOST, headers={}, body=b"", identity=identity, scope=SUITE, now=NOW
    )
    assert signed["x-amz-security-token"] == "session"
    assert "x-amz-security-token" in signed["authorization"]
    assert "hidden" not in repr(identity)
    assert "session" not in repr(identity)
