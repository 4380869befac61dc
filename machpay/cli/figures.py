"""How figures read: money, time, counts. Pure."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from machpay.events import EndEvent
from machpay.pricing import Pricing

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


def usd(amount: Decimal | float) -> str:
    """Write an amount of USD in full: $0.000002, never 2E-6."""
    return f"${plain(amount)}"


def plain(amount: Decimal | float) -> str:
    """Write an amount in full, for programs: 0.000002, without an exponent or zeros at its end."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(pricing: Pricing) -> str:
    """Write a price: what it adds up from."""
    parts = [
        f"{usd(amount)}{unit}"
        for amount, unit in (
            (pricing.base_usd, ""),
            (pricing.per_token_usd, "/token"),
            (pricing.per_second_usd, "/s"),
        )
        if amount
    ]
    return " + ".join(parts) or "free"


def duration(milliseconds: float) -> str:
    """Write a time that was measured.

    Args:
        milliseconds: In ms.
    """
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < _MINUTE:
        return f"{seconds:.2f} s"
    minutes, seconds = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes} min {seconds:02.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def limit(seconds: float | None) -> str:
    """Write a time that was chosen: the largest unit that it is a whole number of.

    Args:
        seconds: In s; ``None``: not known.
    """
    if seconds is None:
        return "-"
    for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:g} s"


def count(number: int, one: str) -> str:
    """Write how many there are of something: 1 token, 1,200 tokens."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def moment(milliseconds: int) -> str:
    """Write a moment in the local time zone.

    Args:
        milliseconds: Since the epoch, in ms.
    """
    at = datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone()
    return at.strftime("%Y-%m-%d %H:%M:%S %z")


def summary(end: EndEvent, resumes: int) -> str:
    """Write what an execution used and cost, in one line.

    Args:
        end: Its ``end`` event.
        resumes: How many connections had to take over.
    """
    return " · ".join(
        (
            count(end.tokens_used, "token"),
            usd(end.cost_usd),
            duration(end.duration_ms),
            count(resumes, "resume"),
        )
    )
