import pytest

from tests.sdk.recording import Player


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("MACHPAY_BASE_URL", "MACHPAY_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(params=["sync", "async"])
def player(request):
    return Player(request.param)
