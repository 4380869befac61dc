"""What it was measured on, as far as it matters to who compares figures."""

import os
import platform
import re
import sysconfig
import time
from pathlib import Path

import msgspec

from bench.store import store_version
from ops.valkey import EmbeddedValkey

LOOPS = 5_000_000


class Machine(msgspec.Struct, frozen=True):
    """A machine.

    Attributes:
        cores: How many this process may use.
        cpu: Its processor's model.
        system: Operating system and kernel.
        python: The version that all of ours runs on.
        optimised: Whether that was built with ``--enable-optimizations``: one that was not is a good
            deal slower.
        valkey: What the embedded store is.
    """

    cores: int
    cpu: str
    system: str
    python: str
    optimised: bool
    valkey: str


def describe() -> Machine:
    """Look at this machine."""
    with EmbeddedValkey() as valkey:
        version = store_version(valkey.url)
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        optimised="--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
        valkey=version,
    )


def calibrate(loops: int = LOOPS) -> float:
    """Time a loop of pure Python that is always the same, in s: noise of the machine shows in it.

    Args:
        loops: How often it goes round.
    """
    began = time.perf_counter()
    total = 0
    for number in range(loops):
        total += number & 7
    return time.perf_counter() - began


def _cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or "unknown"
