"""Programs that tests and screenshots need and no package of Python has: Debian's, installed where we may."""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

_SYSTEMD: Final = Path("/run/systemd/system")
_INSTALL_WITHIN: Final = 300


@cache
def find_program(program: str, package: str, *, service: bool = False) -> str:
    """Find a program, or install its package where apt-get lets us.

    Args:
        program: Its name, and what it is called in the answer.
        package: Debian's package that has it.
        service: The package starts a service. Then it is not installed where that would happen.

    Returns:
        Its path, or why there is none: that begins with "no ".
    """
    path = f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin"
    if (found := shutil.which(program, path=path)) is not None:
        return found
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        return f"no {program}: none is installed, and only root with apt-get could install it"
    if service and _SYSTEMD.exists():
        return f"no {program}: none is installed, and to install {package} here would start it"
    for command in (
        ["update", "-qq"],
        ["install", "-y", "-qq", "--no-install-recommends", package],
    ):
        done = subprocess.run(  # noqa: S603 - apt-get, with words of ours
            [apt, "-o", "DPkg::Lock::Timeout=120", *command],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
            timeout=_INSTALL_WITHIN,
            check=False,
        )
        if done.returncode != 0:
            return f"no {program}: apt-get {command[0]} failed: {done.stderr.strip()[-300:]}"
    return shutil.which(program, path=path) or f"no {program}, though apt-get installed {package}"
