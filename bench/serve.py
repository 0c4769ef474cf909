"""The loop of a contender's process: build once, then measure whenever a line comes in.

    python serve.py WORKER OPTIONS

WORKER is a file that defines `build(options)`, which returns what it has to say of itself and a function
that measures once and returns samples. It runs in the contender's own environment and must import nothing
of this project's that the contender would not.
"""

import json
import os
import runpy
import sys


def main() -> None:
    worker, options = sys.argv[1], json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print goes to the log
    about, measure = runpy.run_path(worker)["build"](options)
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps({"samples": measure(**json.loads(line))}), file=answers, flush=True)


if __name__ == "__main__":
    main()
