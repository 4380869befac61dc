"""An explicit argument, else the environment, else a default."""

import math

import httpx
import pytest

from machpay import AsyncMachPay, MachPay
from machpay._config import Config

ENVIRONMENT = {"MACHPAY_BASE_URL": "https://env/", "MACHPAY_API_KEY": "mp_env\n"}


def test_the_defaults():
    config = Config.resolve(environ={})
    assert config.base_url == "http://127.0.0.1:8080"
    assert config.api_key is None
    assert config.timeout == 60
    assert "Authorization" not in config.http_options()["headers"]


def test_the_environment():
    config = Config.resolve(environ=ENVIRONMENT)
    assert config.base_url == "https://env"
    assert config.http_options()["headers"]["Authorization"] == "Bearer mp_env"


def test_an_argument_wins():
    config = Config.resolve(base_url="http://arg:1/p", api_key="mp_arg", environ=ENVIRONMENT)
    assert (config.base_url, config.api_key) == ("http://arg:1/p", "mp_arg")


def test_an_empty_variable_is_unset():
    config = Config.resolve(environ={"MACHPAY_BASE_URL": "", "MACHPAY_API_KEY": ""})
    assert config == Config.resolve(environ={})


@pytest.mark.parametrize("client", [MachPay, AsyncMachPay])
def test_clients_read_the_environment_when_they_are_made(client, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    http = client()._http.client
    assert http.base_url == "https://env"
    assert http.headers["authorization"] == "Bearer mp_env"


@pytest.mark.parametrize(
    "arguments",
    [
        {"base_url": "localhost:8080"},
        {"base_url": "ftp://host"},
        {"base_url": "http://"},
        {"base_url": "http://host?x=1"},
        {"base_url": "http://host:port"},
        {"base_url": ""},
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": math.nan},
        {"timeout": math.inf},
        {"max_retries": -1},
    ],
)
def test_a_setting_that_cannot_be(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Config.resolve(**arguments, environ={})


@pytest.mark.parametrize("key", ["mp_\nsecret", "mp_ secret", "mp_sécret", " "])
def test_a_bad_key_is_told_without_telling_it(key):
    with pytest.raises(ValueError, match="api_key") as raised:
        Config.resolve(api_key=key, environ={})
    assert "secret" not in str(raised.value)


def test_the_key_is_in_no_repr():
    assert "mp_secret" not in repr(Config.resolve(api_key="mp_secret", environ={}))


def test_streams_never_wait_for_each_others_connections():
    options = Config.resolve(environ={}).http_options()
    assert options["limits"].max_connections is None
    assert options["timeout"] == httpx.Timeout(60, connect=10, pool=None)
