"""How a command ends: exit codes, and errors as one message."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable

from jobs.command.log import LOG
from schemas.errors import WAY_OUT, ConfigError, MonitorError

OK, FAILED, WRONG_USE = 0, 1, 2


def run(main: Callable[[], int]) -> int:
    """Run a command: errors that users can mend become one message and an exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for name in ("py4j", "mlflow", "alembic", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return main()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG_USE
    except MonitorError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except Exception as error:
        print(f"error: {described(error)}", file=sys.stderr)
        LOG.debug("traceback", exc_info=True)
        return FAILED


STORAGE = re.compile(
    r"No space left on device|Disk quota exceeded|Read-only file system|Permission denied"
    r"|\S+ is not a Parquet file|Encountered error while reading file \S*[^\s.]|Checksum error: \S+"
)
"""What Spark says of files and disks, far below the first line of its errors."""

CUT_OFF = re.compile(r"Incomplete log file|STREAMING_CHECKPOINT_MISSING_METADATA_FILE")
"""What it says of a checkpoint that lacks a file, or the end of one."""


def described(error: Exception) -> str:
    """Type and first line of an error; of what Spark has below, an error of ours and what is wrong with files and disk.

    No more: what Spark adds below can quote rows.
    """
    text = str(error)
    lines = text.splitlines() or [""]
    ours = next((line for line in lines[1:] if line.startswith("schemas.errors.")), "")
    below = "; ".join(dict.fromkeys(STORAGE.findall(text.removeprefix(lines[0]))))
    way_out = WAY_OUT if CUT_OFF.search(text) else ""
    return " ".join(part for part in (f"{type(error).__name__}: {lines[0][:500]}", ours, below, way_out) if part)
