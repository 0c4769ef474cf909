"""How a worker times a function: the same way for every contender."""

import time


def samples(run, least=5, seconds=0.5, most=1000):
    """Milliseconds of each of at least so many calls, for at least so many seconds."""
    spans = []
    begun = time.perf_counter()
    while len(spans) < least or (time.perf_counter() - begun < seconds and len(spans) < most):
        start = time.perf_counter()
        run()
        spans.append((time.perf_counter() - start) * 1000)
    return spans


def warm(run, seconds=1.0):
    """Run until warm: at least three times, for at least so many seconds."""
    samples(run, 3, seconds)
