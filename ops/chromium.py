"""Where Chromium is on this machine, for the screenshots."""

import shutil
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Find Chromium, or a browser that is one; ``None`` where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name)) is not None), None)
