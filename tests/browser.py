"""A real Chromium: Debian's, which is installed when it is missing and we may."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from ops.chromium import find_chromium


@contextmanager
def open_browser(*arguments: str) -> Iterator[Browser]:
    """Open a browser; the test is skipped, with the reason, if there is none.

    Args:
        arguments: More arguments for its command line.
    """
    found = find_chromium()
    if found.startswith("no "):
        pytest.skip(found)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", *arguments]
        )
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
