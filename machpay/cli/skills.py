"""``machpay skills``: what can be run."""

import json
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from machpay import SkillInfo
from machpay.cli.failures import OK
from machpay.cli.figures import limit, price
from machpay.cli.screen import visible
from machpay.cli.session import Session, command
from machpay.cli.tables import facts, listing


@command
def skills(
    session: Session,
    skill: Annotated[
        str | None,
        typer.Argument(metavar="SKILL", help="One of them, in full.", show_default=False),
    ] = None,
) -> int:
    """List the skills that can be run, or describe one.

    ```
    machpay skills
    machpay skills story-generator
    machpay skills --json | jq -r '.skills[].id'
    ```
    """
    screen = session.screen
    if skill is not None:
        found = session.client.skills.get(skill)
        if screen.as_json:
            screen.document(found)
        else:
            screen.print(_description(found))
        return OK
    listed = session.client.skills.list()
    if screen.as_json:
        screen.document({"skills": listed})
    elif listed:
        screen.print(_table(listed))
    else:
        screen.say("No worker has announced a skill yet.")
    return OK


def _table(listed: list[SkillInfo]) -> Table:
    table = listing("id", "name", "price", "live", "time-out")
    for skill in sorted(listed, key=lambda skill: skill.id):
        table.add_row(
            Text(visible(skill.id), "bold"),
            Text(visible(skill.name)),
            price(skill.pricing),
            _live(skill),
            limit(skill.timeout),
        )
    return table


def _description(skill: SkillInfo) -> Table:
    return facts(
        {
            "id": Text(visible(skill.id), "bold"),
            "name": visible(skill.name),
            "description": visible(skill.description),
            "price": price(skill.pricing),
            "live": _live(skill),
            "output": "as it is made" if skill.streaming else "whole, at the end",
            "time-out": limit(skill.timeout),
            "input": _input(skill.input_schema),
        }
    )


def _input(schema: dict[str, Any] | None) -> str:
    """Say what a skill takes, a line for each member; ``--json`` has the whole schema."""
    if schema is None:
        return "any"
    required, members = schema.get("required"), schema.get("properties")
    lines: list[str] = []
    for name, member in members.items() if isinstance(members, dict) else ():
        one = member if isinstance(member, dict) else {}
        facts = [
            _kind(one),
            "required" if isinstance(required, list) and name in required else "",
            one.get("description", ""),
        ]
        lines.append(f"{name}: {', '.join(str(fact) for fact in facts if fact)}".removesuffix(": "))
    return visible("\n".join(lines)) or "an object"


def _kind(schema: dict[str, Any]) -> str:
    if isinstance(schema.get("enum"), list):
        return " | ".join(json.dumps(one) for one in schema["enum"])
    kind = schema.get("type", "")
    return " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def _live(skill: SkillInfo) -> Text:
    return Text("yes", "green") if skill.live else Text("no", "yellow")
