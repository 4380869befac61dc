"""Settings: what is read, what is refused, and that operators are told of each."""

import re
from pathlib import Path

import msgspec
import pytest

from shared.settings import PREFIX, Settings, SettingsError

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_set_means_the_defaults() -> None:
    assert Settings.from_environ({}) == Settings()
    assert Settings.from_environ({"MACHPAY_LEASE": " ", "OTHER": "x"}) == Settings()


def test_what_is_set_is_read() -> None:
    settings = Settings.from_environ(
        {"MACHPAY_LEASE": "2.5", "MACHPAY_MAX_JOBS": " 7 ", "MACHPAY_LOG_LEVEL": "debug"}
    )
    assert (settings.lease, settings.max_jobs, settings.log_level) == (2.5, 7, "debug")


def test_the_logs_are_in_the_queues_redis_unless_told_otherwise() -> None:
    one = Settings.from_environ({"MACHPAY_REDIS_URL": "redis://a/1"})
    two = Settings.from_environ(
        {"MACHPAY_REDIS_URL": "redis://a/1", "MACHPAY_LOG_REDIS_URL": "redis://b/2"}
    )
    assert (one.logs_url, two.logs_url) == ("redis://a/1", "redis://b/2")


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h:6380/3", "redis://:p%40ss@h/0", "redis://u:p@[::1]:1/0", "rediss://h:1",
     "redis://h?db=2", "unix:///run/redis.sock", "unix:///run/redis.sock?db=1"],
)  # fmt: skip
def test_a_redis_url(url: str) -> None:
    assert Settings.from_environ({"MACHPAY_REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("LEASE", value) for value in ("1", "0", "-1", "x", "1e9", "nan", "10s", "[1]")),
        *(("MAX_JOBS", value) for value in ("0", "1.5", "many", "99999999999999999999")),
        *(("RETENTION", value) for value in ("0", "-1")),
        *(("SEND_TIMEOUT", value) for value in ("0", "3601")),
        *(("MAX_CONNECTION_AGE", value) for value in ("0", "86401")),
        *(("DRAIN_WINDOW", value) for value in ("-1", "3601")),
        ("LOG_LEVEL", "verbose"),
        ("API_KEYS", "short"),
        *(("TOKEN_SECRET", value) for value in ("short", f"{'s' * 40},short")),
        *(
            ("CORS_ORIGINS", value)
            for value in ("app.example", "https://app.example/", "https://App.example", "null", "https://*.a")
        ),
        *(
            (name, value)
            for name in ("REDIS_URL", "LOG_REDIS_URL")
            for value in (
                "localhost", "http://h", "redis://", "redis:///0", "redis://h:x/0", "redis://h/abc",
                "redis://h:0", "redis://h?foo=bar", "redis://h?decode_responses=true", "unix://",
                "redis://h?db=x", "redis://h:99999",
            )
        ),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environ({PREFIX + name: value})
    assert str(refused.value).startswith(PREFIX + name)
    assert "\n" not in str(refused.value)


def test_a_password_is_never_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environ({"MACHPAY_REDIS_URL": "redis://:hunter2@h?x=1"})
    assert "hunter2" not in str(refused.value)


def test_a_secret_is_never_repeated() -> None:
    for name in ("API_KEYS", "TOKEN_SECRET"):
        with pytest.raises(SettingsError) as refused:
            Settings.from_environ({PREFIX + name: "hunter2"})
        assert "hunter2" not in str(refused.value)


def test_origins() -> None:
    origins = "https://app.example, http://localhost:5173,http://[::1]:80,capacitor://localhost"
    settings = Settings.from_environ({"MACHPAY_CORS_ORIGINS": origins})
    assert len(settings.origins) == 4
    assert Settings().origins == ()


def test_every_setting_and_its_default_is_in_the_example() -> None:
    text = (ROOT / "deploy" / ".env.example").read_text()
    documented = dict(re.findall(r"^(MACHPAY_[A-Z_]+)=(.*)$", text, re.MULTILINE))
    for field in msgspec.structs.fields(Settings):
        name = PREFIX + field.name.upper()
        assert name in documented, name
        if field.name != "skills":
            assert Settings.from_environ({name: documented[name]}) == Settings(), name


def test_logs_outlive_the_takeover_from_a_worker_that_died() -> None:
    """Else a row of the ledger could be lost with the log that it is written from."""
    assert Settings.from_environ({"MACHPAY_RETENTION": "1"}).log_retention == 30
    kept = {"MACHPAY_RETENTION": "100", "MACHPAY_LEASE": "2"}
    assert Settings.from_environ(kept).log_retention == 100
