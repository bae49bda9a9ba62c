"""What all commands share: the option that names the warehouse, and how things are said."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dataengine.screen import printable

WarehouseOption = Annotated[
    Path, typer.Option("--warehouse", envvar="DATAENGINE_WAREHOUSE", help="The warehouse's folder.")
]
DEFAULT_WAREHOUSE = Path("warehouse-data")


def say(text: Any, err: bool = False) -> None:
    """Prints a line; what would act on the terminal is written out."""
    # Much of what is said was written by models.
    print(printable(str(text)), file=sys.stderr if err else sys.stdout, flush=True)
