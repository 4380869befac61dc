"""Loading skills: what a worker runs, or one clear reason why it can't start."""

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.skills import SkillsError, load_skills


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for modules, importable and forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("given_"):
            del sys.modules[name]


def write(modules: Path, name: str, source: str) -> None:
    (modules / f"{name}.py").write_text(textwrap.dedent(source))


def a_skill(name: str, variable: str = "skill") -> str:
    return f"""
    from machpay import Skill
    {variable} = Skill(id="{name}")
    @{variable}.stream_handler
    def run(input):
        return "x"
    """


def test_several_skills_in_order(modules: Path) -> None:
    write(modules, "given_a", a_skill("a") + a_skill("b", "other"))
    write(modules, "given_c", a_skill("c"))
    skills = load_skills(" given_a:skill, given_c:skill ,given_a:other,")
    assert list(skills) == ["a", "c", "b"]
    assert all(skill.id == name for name, skill in skills.items())


def test_a_module_of_the_guide_that_serves_at_its_end_is_loaded(modules: Path) -> None:
    write(modules, "given_guide", a_skill("story") + "    skill.serve(port=8080)\n")
    assert list(load_skills("given_guide:skill")) == ["story"]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("", "names no skill"),
        (" , ", "names no skill"),
        ("given_a", "not the name of a skill"),
        ("given_a:", "not the name of a skill"),
        (":skill", "not the name of a skill"),
        ("given_nothing:skill", "ModuleNotFoundError"),
        ("given_broken:skill", "RuntimeError: no GPU"),
        ("given_exits:skill", "SystemExit: 3"),
        ("given_a:nothing", "has no such name"),
        ("given_a:run", "a Skill is expected"),
        ("given_idle:skill", "has no handler"),
        ("given_a:skill,given_b:skill", "'a': given_a:skill and given_b:skill"),
    ],
)
def test_what_can_not_be_loaded_is_named(modules: Path, names: str, says: str) -> None:
    write(modules, "given_a", a_skill("a"))
    write(modules, "given_b", a_skill("a"))
    write(modules, "given_broken", "raise RuntimeError('no GPU')")
    write(modules, "given_exits", "import sys\nsys.exit(3)")
    write(modules, "given_idle", "from machpay import Skill\nskill = Skill(id='idle')")
    with pytest.raises(SkillsError) as refused:
        load_skills(names)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
