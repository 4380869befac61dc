"""A real Chromium: Debian's, which is installed when it is missing and we may."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Open a browser; the test is skipped, with the reason, if there is none."""
    found = find_chromium()
    if found.startswith("no "):
        pytest.skip(found)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page() -> Iterator[Page]:
    """Open a page in a browser of its own; the test is skipped, with the reason, if there is none."""
    with open_browser() as browser:
        page = browser.new_page()
        page.set_default_timeout(20_000)
        yield page


@cache
def find_chromium() -> str:
    """Find Chromium, or install it where apt-get lets us; returns its path, or why there is none."""
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
        done = subprocess.run(
            [apt, *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode != 0:
            return f"no Chromium: apt-get {command[0]} failed: {done.stderr.strip()[-300:]}"
    return shutil.which("chromium") or "no Chromium, though apt-get installed it"
