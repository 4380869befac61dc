"""``python -m workers``: run a worker (arq's own command can't run a subclass of its Worker)."""

import asyncio
import os
import sys
import threading
from typing import Final

from shared.settings import Settings, SettingsError
from shared.telemetry import configure_logging
from workers.remote_servers import read_servers
from workers.service import serve
from workers.skills import SkillsError, load_skills

LEFTOVERS: Final = 2.0
"""How long handlers that ignore the shutdown are waited for at the very end, in s."""


def loop_factory() -> asyncio.AbstractEventLoop:
    """Make the fastest event loop there is on this platform."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform, and nothing depends on it
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main() -> int:
    """Run a worker until SIGTERM or SIGINT; returns the process's exit status."""
    try:
        settings = Settings.from_environ(os.environ)
        configure_logging(settings.log_level)
        remote = read_servers(settings.remote_skills)
        skills = {} if remote and not settings.skills else load_skills(settings.skills)
    except (SettingsError, SkillsError) as error:
        sys.stderr.write(f"machpay worker: {error}\n")
        return 2
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(settings, skills, remote))
        # All is handed over. What is left are handlers that swallow their cancellation, and they
        # must not keep the process.
        last_resort = threading.Timer(LEFTOVERS, os._exit, (0,))
        last_resort.daemon = True
        last_resort.start()
    return 0


if __name__ == "__main__":
    sys.exit(main())
