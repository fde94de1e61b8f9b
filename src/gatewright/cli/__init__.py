"""The command line: verbs only. Arguments in, one call out; each module below holds a family of verbs."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from gatewright.cli.app import FAILURE, INTERRUPTED, USER_MISTAKE, app
from gatewright.errors import PeerLostError, RunError, StoppedError, UserError
from gatewright.terminal import visible

# each adds its verbs; their order is that of --help
from gatewright.cli import runs  # noqa: F401  # isort: skip
from gatewright.cli import corpora  # noqa: F401  # isort: skip
from gatewright.cli import evaluation  # noqa: F401  # isort: skip
from gatewright.cli import studies  # noqa: F401  # isort: skip
from gatewright.cli import reasoning  # noqa: F401  # isort: skip
from gatewright.cli import look_at_runs  # noqa: F401  # isort: skip
from gatewright.cli import checkpoints  # noqa: F401  # isort: skip
from gatewright.cli import export  # noqa: F401  # isort: skip
from gatewright.cli import authors  # noqa: F401  # isort: skip
from gatewright.cli import planning  # noqa: F401  # isort: skip
from gatewright.cli import look  # noqa: F401  # isort: skip

__all__ = ["app", "main"]


def main() -> NoReturn:
    """Run the command line and exit: 0 success, 2 a user's mistake (one line), 1 a failure, 130 interrupted."""
    try:
        app()
    except UserError as error:
        _complain(error)
        sys.exit(USER_MISTAKE)
    except RunError as error:
        _complain(error)
        sys.exit(INTERRUPTED if isinstance(error, StoppedError) else FAILURE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()  # else the interpreter, when it leaves, looks through a million objects of torch's: a second
    sys.exit(0)


def _complain(error: Exception) -> None:
    # of the processes of one run, one speaks, unless it may be the one that is gone
    if os.environ.get("RANK", "0") == "0" or isinstance(error, PeerLostError):
        print(f"gatewright: {visible(' '.join(str(error).split()))}", file=sys.stderr)
