"""The servers of ``MACHPAY_REMOTE_SKILLS``: what they list, this worker runs."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

import httpx
import msgspec

from machpay import AsyncMachPay
from machpay import SkillInfo as Listed
from machpay._contract import checked
from machpay.exceptions import StreamError
from machpay.serve.contracts import Contract
from machpay.serve.executions import SkillInfo
from machpay.skill import Skill
from shared.cancellation import cancelled
from shared.telemetry import Outage
from workers.pinned import PinnedTransport
from workers.remote_skill import Link, RemoteSkill
from workers.skills import SkillsError

logger: Final = logging.getLogger("machpay.remote")

LIST_WITHIN: Final = 10.0
"""How long a server may take to list its skills, in s."""

LIST_EVERY: Final = 10.0
"""How often a server is asked for them, in s."""

RETRY_EVERY: Final = 1.0
"""How often one that did not answer is asked, in s."""

MOST_SKILLS: Final = 1000
"""Of one server."""

_LONGEST_NAME: Final = 200
_LONGEST_DESCRIPTION: Final = 4000
"""In characters."""

_SILENCE: Final = 60.0
"""After how much silence a connection counts as dead, in s: four heartbeats."""

_RETRIES: Final = 6
"""Failures in a row of one stream, about 10 s, before its execution counts as interrupted."""


def read_servers(text: str) -> list[str]:
    """Read ``MACHPAY_REMOTE_SKILLS``.

    Args:
        text: Base URLs, comma separated.

    Returns:
        The base URLs, without a slash at their end.

    Raises:
        SkillsError: One is no http(s) URL, or has more than a host, a port and a path; or is there
            twice.
    """
    urls: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            url = httpx.URL(part)
        except httpx.InvalidURL as error:
            raise SkillsError(f"MACHPAY_REMOTE_SKILLS: not a URL ({error})") from None
        if (
            url.scheme not in ("http", "https")
            or not url.host
            or url.userinfo
            or url.query
            or url.fragment
        ):
            # Not the URL itself: it may hold a password.
            raise SkillsError(
                f"MACHPAY_REMOTE_SKILLS: expected http(s)://host[:port][/prefix], several separated "
                f"by commas; the one of host {url.host!r} is something else"
            )
        base_url = str(url).rstrip("/")
        if base_url in urls:
            raise SkillsError(f"MACHPAY_REMOTE_SKILLS: {base_url} is there twice")
        urls.append(base_url)
    return urls


class RemoteServers:
    """Keeps the skills that this worker runs in step with what the servers list.

    Args:
        base_urls: The servers; where two list a skill of one id, the first one has it.
        skills: The worker's own skills, which come before all others. Those of the servers are added
            to it, and taken out of it again.

    Attributes:
        changed: Set when what can be run is not what it was.
    """

    def __init__(self, base_urls: list[str], skills: dict[str, Skill]) -> None:
        self._skills = skills
        self._own = frozenset(skills)
        self._servers = [_Server(base_url) for base_url in base_urls]
        self.changed: asyncio.Event = asyncio.Event()

    async def watch(self) -> None:
        """Keep in step with every server, each at its own pace, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for server in self._servers:
                tasks.create_task(self._watch(server), name=f"skills of {server.base_url}")

    async def _watch(self, server: "_Server") -> None:
        while not cancelled():
            before = self.announced()
            await server.refresh()
            self._adopt()
            if self.announced() != before:
                self.changed.set()
            await server.pause()

    async def refresh(self) -> None:
        """Ask every server for its skills, once; one that does not answer keeps those it had."""
        for server in self._servers:
            await server.refresh()
        self._adopt()

    def _adopt(self) -> None:
        found: dict[str, RemoteSkill] = {}
        for server in self._servers:
            for skill_id, skill in server.skills.items():
                if skill_id in self._own or skill_id in found:
                    server.say_once(f"{skill_id!r} is left out: another one has this id")
                else:
                    found[skill_id] = skill
        for skill_id in [*self._skills]:
            if skill_id not in self._own and skill_id not in found:
                del self._skills[skill_id]
        self._skills.update(found)

    @property
    def away(self) -> bool:
        """Whether a server did not answer when it was asked last."""
        return any(server.link.away for server in self._servers)

    def announced(self) -> list[SkillInfo]:
        """List what this worker can run now: not the skills of a server that does not answer."""
        return [
            skill.info if isinstance(skill, RemoteSkill) else SkillInfo.of(skill)
            for skill in self._skills.values()
            if not (isinstance(skill, RemoteSkill) and skill.away)
        ]

    async def close(self) -> None:
        """Close all connections."""
        for server in self._servers:
            await server.link.client.close()


class _Server:
    """One server.

    Args:
        base_url: Where it is.

    Attributes:
        base_url: As given.
        link: The way to it.
        skills: What it lists, by id.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.link = Link(
            AsyncMachPay(
                base_url=base_url,
                timeout=_SILENCE,
                max_retries=_RETRIES,
                transport=PinnedTransport(base_url),
            )
        )
        self.skills: dict[str, RemoteSkill] = {}
        self._outage = Outage(logger, f"the skills of {base_url} can't be listed")
        self._said: set[str] = set()

    async def pause(self) -> None:
        """Wait until it is to be asked again."""
        self.link.missed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(RETRY_EVERY if self.link.away else LIST_EVERY):
                await self.link.missed.wait()

    def say_once(self, what: str) -> None:
        """Log something about it that is so until somebody changes it."""
        if what not in self._said and len(self._said) < MOST_SKILLS:
            self._said.add(what)
            logger.error("%s: %s", self.base_url, what)

    async def refresh(self) -> None:
        """Ask it for its skills."""
        try:
            async with asyncio.timeout(LIST_WITHIN):
                listed = await self.link.client.skills.list()
        except (StreamError, TimeoutError) as error:
            self.link.away = True
            self._outage.goes_on(ConnectionError(str(error) or "no answer"))
            return
        self.link.away = False
        self._outage.is_over()
        self.skills = self._made(listed[:MOST_SKILLS])

    def _made(self, listed: list[Listed]) -> dict[str, RemoteSkill]:
        skills: dict[str, RemoteSkill] = {}
        for one in listed:
            if not one.live:  # a whole system of its own, and no worker there has it now
                continue
            known = self.skills.get(one.id)
            try:
                skill = RemoteSkill(self._info(one), self.link)
            except ValueError as error:
                self.say_once(f"a skill is left out: {error}")
                continue
            # The same object for as long as nothing changes: it knows what runs.
            unchanged = known is not None and known.info == skill.info
            skills[one.id] = known if known is not None and unchanged else skill
        return skills

    def _info(self, listed: Listed) -> SkillInfo:
        """Describe a skill as it is announced here, with a schema only if edges can use it."""
        info = _info(listed)
        if listed.input_schema is None:
            return info
        try:
            schema = checked(listed.input_schema)
            Contract(schema)
        except ValueError as error:
            # It still checks its input by itself.
            self.say_once(f"{listed.id!r} is listed without its input_schema: {error}")
            return msgspec.structs.replace(info, input_schema=msgspec.UNSET)
        return msgspec.structs.replace(info, input_schema=schema)


def _info(listed: Listed) -> SkillInfo:
    """Turn what a server lists into what is announced here; what it does not say has our defaults."""
    fields = {
        name: value
        for name, value in msgspec.structs.asdict(listed).items()
        if value is not None and name != "live"
    }
    info = SkillInfo(**{"name": listed.id, **fields})
    name, description = info.name[:_LONGEST_NAME], info.description[:_LONGEST_DESCRIPTION]
    return msgspec.structs.replace(info, name=name, description=description)
