"""``make screenshots``: the pictures of the README, taken of the real system in a real Chromium."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

from machpay import MachPay
from machpay.exceptions import StreamError
from ops.chromium import find_chromium
from ops.dev import EXAMPLES
from ops.system import ROOT, System

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES: Final = ROOT / "docs" / "images"
"""Where the pictures are."""

MAX_BYTES: Final = 200 << 10
"""The largest that one may be: they are a part of every clone."""

_TRAFFIC: Final = 60
"""How many executions the operations page shows at least: figures of nothing say nothing."""

_AT_ONCE: Final = 6

_CUT_AFTER: Final = 8
_MISSED: Final = 9
_ENOUGH: Final = 5
_PATIENCE: Final = 60.0
_SKILL: Final = "premium-chat"
_SKILLS: Final = ("story-generator", "chat-assistant", _SKILL)
_PROMPT: Final = "Explain quantum computing"


class ScreenshotError(Exception):
    """There is no picture; the message says why."""


@dataclass(frozen=True)
class _Picture:
    """How one picture is taken.

    Attributes:
        name: Its file's, without the suffix.
        width: Of the window, in CSS pixels.
        height: The same.
        dark: Whether in dark colours.
        scale: Pixels of the picture for one of the window.
    """

    name: str
    width: int
    height: int
    dark: bool = False
    scale: float = 1.0


_PLAYGROUND: Final = (
    _Picture("playground-light", 1280, 760),
    _Picture("playground-dark", 1280, 760, dark=True),
    _Picture("playground-phone", 390, 844, scale=1.5),
)
_OPERATIONS: Final = _Picture("ops-light", 1280, 760)


def take_screenshots(folder: Path = IMAGES) -> list[Path]:
    """Take all pictures.

    Args:
        folder: Where to.

    Returns:
        What was written.

    Raises:
        ScreenshotError: No browser, or a page does not come to the state that is to be shown.
        ops.system.ProcessError: The system does not start.
        ops.valkey.ValkeyError: No Valkey.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _browser() as browser, System(settings={"MACHPAY_SKILLS": EXAMPLES}) as system:
        taken = [_playground(browser, system, picture, folder) for picture in _PLAYGROUND]
        with _traffic(system), _open(browser, _OPERATIONS, f"{system.url}/ops") as page:
            _until(lambda: _started(page) >= _TRAFFIC, "enough executions for figures")
            taken.append(_save(page, _OPERATIONS, folder))
    return taken


@contextmanager
def _browser() -> Iterator["Browser"]:
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - of the dev group alone
    except ImportError:
        raise ScreenshotError("Playwright is missing: make setup installs it.") from None
    found = find_chromium()
    if found.startswith("no "):
        raise ScreenshotError(found)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _traffic(system: System) -> Iterator[None]:
    """Run skills, several at once, for as long as the context is open."""
    ended = Event()

    def run(number: int) -> None:
        with MachPay(base_url=system.url) as client:
            for turn in count(number):
                if ended.is_set():
                    return
                skill = _SKILLS[turn % len(_SKILLS)]
                with suppress(StreamError):  # some fail, as they do
                    client.skills.run(skill, {"prompt": _PROMPT if turn % 7 else ""})

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(run, number) for number in range(_AT_ONCE)]
        try:
            yield
        finally:
            ended.set()
    for one in running:
        one.result()


@contextmanager
def _open(browser: "Browser", picture: _Picture, url: str) -> Iterator["Page"]:
    context = browser.new_context(
        viewport={"width": picture.width, "height": picture.height},
        device_scale_factor=picture.scale,
        color_scheme="dark" if picture.dark else "light",
        reduced_motion="reduce",
    )
    try:
        page = context.new_page()
        page.set_default_timeout(_PATIENCE * 1000)
        page.goto(url)
        yield page
    finally:
        context.close()


def _playground(browser: "Browser", system: System, picture: _Picture, folder: Path) -> Path:
    """Run a skill, cut its connection, resume, and take the picture while it still writes."""
    with _open(browser, picture, f"{system.url}/?skill={_SKILL}") as page:
        page.get_by_label("Prompt", exact=True).fill(_PROMPT)
        page.get_by_role("button", name="Run").click()
        _until(lambda: _chunks(page) >= _CUT_AFTER, "the first chunks")
        page.get_by_role("button", name="Cut the connection").click()
        cut_at = _chunks(page)
        execution = page.url.partition("execution=")[2]
        _until(lambda: _written(system, execution) >= cut_at + _MISSED, "what the cut missed")
        # The workers stand still where a slow machine would miss the moment; well within their lease.
        with _still(system):
            page.get_by_role("button", name="Resume").click()
            _until(lambda: _chunks(page) >= cut_at + _MISSED, "what had waited")
        arrived = _chunks(page)
        _until(lambda: _chunks(page) >= arrived + _ENOUGH, "some chunks after the cut")
        with _still(system):
            page.wait_for_timeout(200)
            if page.locator("#sheet").get_attribute("data-status") != "streaming":
                raise ScreenshotError("the run was over before its picture: try again")
            return _save(page, picture, folder)


def _chunks(page: "Page") -> int:
    return int(page.locator("#chunks").text_content() or 0)


def _started(page: "Page") -> int:
    text = page.locator("#tile-started dd").first.text_content() or ""
    return int(text) if text.isdecimal() else 0


def _written(system: System, execution: str) -> int:
    """Count the chunks in the log: this skill's are three words each."""
    with MachPay(base_url=system.url) as client:
        return len(client.executions.get(execution).text.split()) // 3


@contextmanager
def _still(system: System) -> Iterator[None]:
    workers = [child for name, child in system.children.items() if name.startswith("worker.")]
    for worker in workers:
        os.killpg(worker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            os.killpg(worker.pid, signal.SIGCONT)


def _until(seen: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not seen():
        if time.monotonic() > deadline:
            raise ScreenshotError(f"waited {_PATIENCE:.0f} s in vain for {what}")
        time.sleep(0.01)


def _save(page: "Page", picture: _Picture, folder: Path) -> Path:
    path = folder / f"{picture.name}.png"
    page.screenshot(path=path)
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ScreenshotError(f"{path} has {size} bytes, over {MAX_BYTES}")
    return path
