"""The entry point of ``machpay``: it runs where the extra is installed, and says so where not."""

import sys
from typing import Final

_EXTRA: Final = frozenset({"typer", "rich"})


def main() -> int:
    """Run the command line that the process was given.

    Returns:
        The exit code; ``docs/cli.md`` lists them.
    """
    try:
        from machpay.cli.app import run  # noqa: PLC0415 - an extra, loaded on use
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        sys.stderr.write(
            f"error: missing_extra: the command line needs {missing}: pip install 'machpay[cli]'\n"
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return run()


if __name__ == "__main__":
    sys.exit(main())
