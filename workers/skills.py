"""Loading skills: from ``MACHPAY_SKILLS`` to objects, or one clear reason why not."""

import importlib
import logging
from typing import Final

from machpay.skill import Skill, hosted

logger: Final = logging.getLogger("machpay.skills")

_FORM: Final = "expected package.module:name, several separated by commas"


class SkillsError(Exception):
    """The skills can't be loaded; the message is for the operator."""


def load_skills(names: str) -> dict[str, Skill]:
    """Import the skills of a worker.

    Args:
        names: ``package.module:name``, several separated by commas.

    Returns:
        The skills by id, in the order given.

    Raises:
        SkillsError: A module fails to import, a name is no skill, a skill has no handler, two
            skills have one id, or there is none at all.
    """
    skills: dict[str, Skill] = {}
    sources: dict[str, str] = {}
    for source in filter(None, (part.strip() for part in names.split(","))):
        skill = _load(source)
        if skill.id in skills:
            raise SkillsError(
                f"two skills have the id {skill.id!r}: {sources[skill.id]} and {source}"
            )
        skills[skill.id] = skill
        sources[skill.id] = source
    if not skills:
        raise SkillsError(f"MACHPAY_SKILLS names no skill: {_FORM}")
    return skills


def _load(source: str) -> Skill:
    module_name, colon, name = source.partition(":")
    if not (module_name and colon and name):
        raise SkillsError(f"MACHPAY_SKILLS: {source!r} is not the name of a skill: {_FORM}")
    try:
        with hosted():
            module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        logger.debug("importing %s failed", module_name, exc_info=True)
        reason = " ".join(str(error).split())
        raise SkillsError(
            f"MACHPAY_SKILLS: {source}: importing {module_name} failed: "
            f"{type(error).__name__}: {reason} (MACHPAY_LOG_LEVEL=debug shows where)"
        ) from error
    skill = getattr(module, name, None)
    if not isinstance(skill, Skill):
        what = "has no such name" if skill is None else f"has a {type(skill).__name__} there"
        raise SkillsError(f"MACHPAY_SKILLS: {source}: {module_name} {what}; a Skill is expected")
    try:
        _ = skill.handler
    except ValueError as error:
        raise SkillsError(f"MACHPAY_SKILLS: {source}: {error}") from error
    return skill
