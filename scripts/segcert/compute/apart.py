"""Work in a process of its own: a library that ends its process, or crashes, there ends nothing else."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from segcert.compute.forks import forkable
from segcert.errors import StageError, Unverified
from segcert.stage import printed
from segcert.stage.reasons import short

Found = TypeVar("Found")
OUT, ERRORS = 1, 2  # numbers of the streams that libraries print to
# Paddle's handlers of these write down a stack; in a fork that can wait for ever for a lock that nobody holds there.
HANDLED = (signal.SIGTERM, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)


def run(work: Callable[..., Found], *arguments: Any) -> Found:
    """What `work` returns in a fork of this process, which has all that is loaded here; it must go through a pipe.

    Raises:
        StageError: it raised, or its process ended; in one line. The log has the rest.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    reading, writing = os.pipe()
    _flush()  # or the fork would print it too
    process = context.Process(target=_work, args=(sender, writing, work, arguments))
    with forkable():
        process.start()
    sender.close()  # so that both pipes end with the process
    os.close(writing)
    answer, said = _followed(receiver, reading)
    process.join()
    if answer is None:
        raise StageError(_ended(process.exitcode or 0, said))
    returned, found = answer
    if not returned:
        raise StageError(found)
    result: Found = found
    return result


def _followed(receiver: Connection, reading: int) -> tuple[tuple[bool, Any] | None, bytes]:
    """What a process answers, None where it ends without that, and the end of what it prints, which is passed on."""
    answer, said = None, b""
    open_ones: list[Any] = [receiver, reading]
    while open_ones:
        for one in connection.wait(open_ones):
            if one is receiver:
                try:
                    answer = receiver.recv()
                except EOFError:
                    open_ones.remove(receiver)
            elif piece := os.read(reading, printed.KEPT):
                said = (said + piece)[-printed.KEPT :]
                _pass_on(piece)
            else:
                open_ones.remove(reading)
    receiver.close()
    os.close(reading)
    return answer, said


def _pass_on(piece: bytes) -> None:
    while piece:
        piece = piece[os.write(OUT, piece) :]


def told(error: Exception) -> str:
    """An exception in one line, where what is said to a person stays as it is."""
    return str(error) if isinstance(error, StageError | Unverified) else short(error)


def _work(sender: Connection, writing: int, work: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    for stream in (OUT, ERRORS):
        os.dup2(writing, stream)
    os.close(writing)
    try:
        sender.send((True, work(*arguments)))
    except Exception as error:
        traceback.print_exc()
        sender.send((False, told(error)))
    finally:
        _flush()


def _flush() -> None:
    """Write what Python and libraries in C hold back: a fork ends without that."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    ctypes.CDLL(None).fflush(None)


def _ended(code: int, said: bytes) -> str:
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return printed.why(how, code, said) or f"{how}; its messages are in the log"
