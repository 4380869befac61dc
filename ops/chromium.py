"""Chromium, for tests and screenshots: Debian's, which is installed when it is missing and we may."""

import shutil
from typing import Final

from ops.debian import find_program

_OTHER_NAMES: Final = ("chromium-browser", "google-chrome")


def find_chromium() -> str:
    """Find Chromium, or install it where apt-get lets us.

    Returns:
        Its path; or why there is none, in words that begin with ``no chromium``.
    """
    for name in _OTHER_NAMES:
        if (found := shutil.which(name)) is not None:
            return found
    return find_program("chromium", "chromium")
