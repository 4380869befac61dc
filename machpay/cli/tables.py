"""What tables look like: plain columns, which copy and grep well."""

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text


def listing(*columns: str, numbers: frozenset[str] = frozenset()) -> Table:
    """Make a table with a heading.

    Args:
        columns: Their names, from left to right.
        numbers: Which of them are aligned to the right.
    """
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(
            name, justify="right" if name in numbers else "left", overflow="fold", min_width=2
        )
    return table


def facts(pairs: Mapping[str, str | Text]) -> Table:
    """Lay out names and values in two columns; what has no value is left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        if value:
            table.add_row(name, value if isinstance(value, Text) else Text(value))
    return table
