"""``make dev``: the whole system, left running, its logs in the terminal."""

import os
import time
from itertools import cycle
from pathlib import Path
from typing import Final, NoReturn

from ops.system import ROOT, ProcessError, System
from ops.terminal import rows, say, styled

STORY: Final = "examples.story_generator:skill"
"""The skill of the demo."""

EXAMPLES: Final = f"{STORY},examples.chat_assistant:skill,examples.premium_chat:skill"
"""What runs when ``MACHPAY_SKILLS`` names nothing: the guide's skills that need no vendor."""

_DEFAULT_PORT: Final = 8080
_PASSED_ON: Final = ("MACHPAY_", "UVICORN_")


def dev(directory: Path | None = None) -> NoReturn:
    """Run the system until Ctrl-C, showing what its processes log.

    Reads ``PORT`` and passes every ``MACHPAY_*`` variable on.

    Args:
        directory: Where data and logs are kept; ``.machpay/`` when left out.

    Raises:
        ProcessError: A process ended or did not get ready, or the port is taken.
        ops.valkey.ValkeyError: No Valkey.
    """
    settings = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
    settings.setdefault("MACHPAY_SKILLS", EXAMPLES)
    directory = directory or ROOT / ".machpay"
    system = System(settings=settings, directory=directory, port=_port())
    say("Starting Valkey, an edge and two workers ...")
    with system:
        say(_greeting(system))
        logs = [_FollowedLog(child.name, child.log) for child in system.children.values()]
        width = max(len(log.name) for log in logs)
        colours = cycle(("cyan", "green", "yellow", "magenta", "blue"))
        prefixes = {log: styled(f"{log.name.ljust(width)} |", next(colours)) for log in logs}
        while True:
            for log, prefix in prefixes.items():
                for line in log.new_lines():
                    say(f"{prefix} {line}")
            system.check()
            time.sleep(0.1)


def _port() -> int:
    """Read ``PORT``.

    Raises:
        ProcessError: It is no port.
    """
    raw = os.environ.get("PORT", "").strip() or str(_DEFAULT_PORT)
    try:
        port = int(raw)
    except ValueError:
        port = -1
    if not 0 <= port < 1 << 16:
        raise ProcessError(f"PORT={raw!r}: not a port; 0 takes a free one")
    return port


def _greeting(system: System) -> str:
    skills = system.skills()
    prompt = '{"input": {"prompt": "Write a haiku"}}'
    redis = "your MACHPAY_REDIS_URL"  # not the URL itself: it may hold a password
    if system.valkey is not None:
        redis = f"{system.redis_url}  (embedded Valkey, data in {system.directory}/valkey)"
    key = "" if skills is not None else ' -H "Authorization: Bearer $MACHPAY_API_KEY"'
    example = f"{system.url}/v1/skills/{skills[0] if skills else 'SKILL'}/stream"
    facts = {
        "URL": styled(system.url, "bold"),
        **_pages(system.url),
        "skills": "listed to who has an API key" if skills is None else ", ".join(skills),
        "Redis": redis,
        "logs": f"{system.directory}/logs/",
        "try": f"curl -N {example}{key} -d '{prompt}'",
    }
    if skills is None:
        facts["keys"] = "there are API keys: every request needs one"
    return (
        f"\n{styled('MachPay Streams is running.', 'green')}\n\n{rows(facts)}\n\nCtrl-C stops it.\n"
    )


def _pages(url: str) -> dict[str, str]:
    off = os.environ.get("MACHPAY_PAGES", "").strip().lower() in ("false", "0")
    return {} if off else {"pages": f"{url}/ to run skills, {url}/ops to see how it is"}


class _FollowedLog:
    """What a process adds to its log from its beginning on.

    Args:
        name: The process's name.
        path: Its log.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._offset = 0

    def new_lines(self) -> list[str]:
        """Read the complete lines since the last call."""
        with self._path.open("rb") as log:
            log.seek(self._offset)
            complete, newline, _ = log.read().rpartition(b"\n")
        self._offset += len(complete) + len(newline)
        return complete.decode(errors="replace").splitlines() if newline else []
