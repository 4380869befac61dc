"""A skill whose id another skill has."""

from machpay import Skill, SkillInput

other = Skill(id="count")


@other.stream_handler
def run(input: SkillInput) -> str:
    """Never run."""
    return ""
