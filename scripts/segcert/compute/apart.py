"""Work in a process of its own: a library that ends its process, or crashes, there ends nothing else."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from segcert.compute.forks import forkable
from segcert.errors import StageError, Unverified
from segcert.stage.reasons import short

Found = TypeVar("Found")
# Paddle's handlers of these write down a stack; in a fork that can wait for ever for a lock that nobody holds there.
HANDLED = (signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


def run(work: Callable[..., Found], *arguments: Any) -> Found:
    """What `work` returns in a fork of this process, which has all that is loaded here; it must go through a pipe.

    Raises:
        StageError: it raised, or its process ended; in one line. The log has the rest.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    _flush()  # or the fork would print it too
    process = context.Process(target=_work, args=(sender, work, arguments))
    with forkable():
        process.start()
    sender.close()  # so that the pipe ends with the process
    try:
        returned, found = receiver.recv()
    except EOFError:
        returned, found = False, None
    process.join()
    if not returned:
        raise StageError(found or f"{_ended(process.exitcode or 0)}; its messages are in the log")
    result: Found = found
    return result


def told(error: Exception) -> str:
    """An exception in one line, where what is said to a person stays as it is."""
    return str(error) if isinstance(error, StageError | Unverified) else short(error)


def _work(sender: Connection, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    try:
        sender.send((True, work(*arguments)))
    except Exception as error:
        traceback.print_exc()
        sender.send((False, told(error)))
    finally:
        _flush()


def _flush() -> None:
    """Write what libraries in C printed: a fork ends without that."""
    ctypes.CDLL(None).fflush(None)


def _ended(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
