"""Whom an edge lets in, and for how long."""

import pytest
from starlette.requests import Request

from edge.access import KeyAccess
from edge.tokens import Tokens
from machpay.serve.executions import ApiError
from shared.accounts import Accounts
from shared.redis import Client

SECRET = "a secret of the operator's, and long enough"
ALICE, BOB = "alices-key-0123456789", "bobs-key-0123456789ab"


def bearing(token: str) -> Request:
    headers = [(b"host", b"edge.example"), (b"authorization", f"Bearer {token}".encode())]
    return Request({"type": "http", "method": "GET", "headers": headers, "query_string": b""})


async def test_a_token_is_good_for_no_longer_than_its_account_has_a_key(
    valkey_client: Client,
) -> None:
    tokens = Tokens(valkey_client, SECRET)
    token = (await tokens.to_read("alice", "exec_a", 60)).token
    both = KeyAccess(Accounts(f"alice:{ALICE},bob:{BOB}"), tokens)
    assert (await both.identify(bearing(token))).account == "alice"
    left = KeyAccess(Accounts(f"bob:{BOB}"), tokens)
    with pytest.raises(ApiError) as refused:
        await left.identify(bearing(token))
    assert (refused.value.status, refused.value.code) == (401, "unauthorized")
