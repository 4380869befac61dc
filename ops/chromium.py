"""Chromium, for tests and screenshots: Debian's, which is installed when it is missing and we may."""

import os
import shutil
import subprocess
from functools import cache
from typing import Final

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_INSTALL_WITHIN: Final = 300


@cache
def find_chromium() -> str:
    """Find Chromium, or install it where apt-get lets us.

    Returns:
        Its path; or why there is none, in words that begin with ``no Chromium``.
    """
    for name in _NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return "no Chromium: none is installed, and only root with apt-get could install it"
    for command in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", "chromium"],
    ):
        done = subprocess.run(  # noqa: S603 - apt-get, with words of ours
            [apt, *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=_INSTALL_WITHIN,
            check=False,
        )
        if done.returncode != 0:
            return f"no Chromium: apt-get {command[0]} failed: {done.stderr.strip()[-300:]}"
    return shutil.which("chromium") or "no Chromium, though apt-get installed it"
