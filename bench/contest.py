"""Who competes: every target, what each can do, and one of them at a time."""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from bench.figure import Figure, NotRun, Outcome
from bench.machpay import MachPay
from bench.rivals.durable_streams import DurableStreams
from bench.rivals.in_process import InProcess
from bench.rivals.raw_socket import RawSocket
from bench.rivals.resumable_stream import ResumableStream, ResumableStreamFirst
from bench.rivals.usual import Usual
from bench.target import Target
from ops.npm import NodeMissing, NpmError, RegistryUnreachable

OURS: Final = "machpay"

ENTRANTS: Final[dict[str, type[Target]]] = {
    OURS: MachPay,
    "usual": Usual,
    "resumable": ResumableStream,
    "first": ResumableStreamFirst,
    "durable": DurableStreams,
    "generator": InProcess,
    "socket": RawSocket,
}
"""Ours, rivals, and two limits, by the names that the command line and tables have for them."""

ALL: Final = tuple(ENTRANTS)

Measure = Callable[[Target], Iterable[Figure]]


class FellBehind(Exception):
    """A target can't keep up, so that more of the same would tell nothing; the message says with what."""


def able(kind: str, names: Sequence[str] = ALL) -> list[str]:
    """List who can do a kind of work.

    Args:
        kind: See :attr:`bench.target.Target.can`.
        names: Who is asked.
    """
    return [name for name in names if kind in ENTRANTS[name].can]


def contest(
    scenario: str,
    kind: str,
    measure: Measure,
    names: Sequence[str] = ALL,
    *,
    workers: int = 2,
    edges: int = 1,
) -> Iterator[Outcome]:
    """Start one target after the other, and measure each while nothing else runs.

    Args:
        scenario: Its name: ``live``.
        kind: What a target must be able to do.
        measure: Measures one that has started; what it has found when it fails, counts.
        names: Who competes.
        workers: How many of them ours has. (Rivals have what their modules say.)
        edges: How many of them ours has.
    """
    for name in able(kind, names):
        yield from guarded(scenario, name, lambda name=name: _enter(name, measure, workers, edges))  # type: ignore[misc]


def guarded(scenario: str, name: str, measure: Callable[[], Iterable[Figure]]) -> Iterator[Outcome]:
    """Measure, and say so when that fails: the others still have their turn.

    Args:
        scenario: Its name.
        name: Whose figures these are.
        measure: Starts the target, measures and stops it.
    """
    print(f"{scenario}: {name} ...", end="", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        for figure in measure():
            yield msgspec.structs.replace(figure, scenario=scenario, target=name)
    except (NodeMissing, RegistryUnreachable, NpmError, FellBehind) as reason:
        yield NotRun(scenario, name, first_line(reason))
    except Exception as error:  # noqa: BLE001 - a target that breaks is a finding, whatever breaks it
        traceback.print_exc()
        yield NotRun(scenario, name, f"failed: {first_line(error)}", broke=True)
    finally:
        print(f" {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def first_line(error: Exception) -> str:
    """Say in one line what went wrong."""
    said = str(error).strip().splitlines()
    return said[0] if said else type(error).__name__


def _enter(name: str, measure: Measure, workers: int, edges: int) -> Iterator[Figure]:
    target = MachPay(edges=edges, workers=workers) if name == OURS else ENTRANTS[name]()
    with target:
        yield from measure(target)


def parser(about: str | None, *flags: str) -> argparse.ArgumentParser:
    """Make a command line that chooses targets.

    Args:
        about: What the command does: the module's docstring.
        flags: How the choice is spelled, for who does not like both ``--only`` and ``--targets``.
    """
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        *(flags or ("--only", "--targets")),
        dest="targets",
        type=choice("target", ALL),
        default=ALL,
        metavar="NAME,NAME",
        help=f"which of {', '.join(ALL)}; all of them when left out",
    )
    return made


def choice(kind: str, names: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Make what reads a choice of names, ``machpay,usual``, from the command line.

    Args:
        kind: What they name, for the error.
        names: Those that there are.
    """

    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(text.split(","))
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"no {kind} {name!r}: {', '.join(names)}")
        return chosen

    return read
