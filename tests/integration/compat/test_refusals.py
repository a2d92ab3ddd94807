"""Refusals as a client hears them that is still sending."""

from http.client import HTTPConnection

import pytest

from tests.support.api_services import PUBLIC_KEY, api_process
from tests.support.rpc import BATCH_CREATE

pytestmark = pytest.mark.integration

BODY = b"[" + b" " * 2_000_000 + b"]"
ROUNDS = 5


def test_the_answer_arrives_although_nobody_wants_the_body():
    """One connection, large bodies, refused and ignored ones in turn."""
    wrong = {"authorization": "Basic eDo="}
    with api_process() as (port, _):
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        for path, headers, status in (
            ("/v1/batch", wrong, 401),
            ("/flags/?v=2", {}, 200),
            ("/v1/m", {}, 200),
            ("/v1/batch", {"x-api-key": PUBLIC_KEY}, 200),
            (BATCH_CREATE, {"x-api-key": "pub_0", "content-type": "application/json"}, 401),
        ) * ROUNDS:
            connection.request("POST", path, body=BODY, headers=headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status, path
        connection.close()
