"""What the stages of the certification workflow share.

Modules that only plan, record or report (`settings`, `cells`, `statuses`, `record`, `stage`,
`conclusions`, ...) import neither Paddle nor PaddleSeg, so that a plan costs no start-up time.
"""

import os
import sys


def put_last(folders: str) -> None:
    """Have Python look in these folders (as PYTHONPATH has them) after all others.

    What somebody's PYTHONPATH holds can so lend a package that is not installed, and never takes the place of one
    that is: a result is of what is installed, as its record says. Done as the package is imported, before any other.
    """
    named = [os.path.abspath(entry) for entry in folders.split(os.pathsep) if entry]  # noqa: PTH100
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) not in named] + named  # noqa: PTH100


put_last(os.environ.get("PYTHONPATH", ""))

SCHEMA_VERSION = 1
