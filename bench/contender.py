"""A contender that is kept running: built and warmed once, then asked for measurements in turns.

The parent's side. The child runs bench/serve.py's loop, in whatever environment it needs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import BenchError

HERE = Path(__file__).resolve().parent


class Contender:
    """A process that measures when it is asked; use it in a `with` block.

    Args:
        name: of the contender, for messages.
        python: the interpreter.
        worker: file in this folder that defines `build(options)`.
        options: what `build` gets.
        env: further environment variables.
    """

    def __init__(
        self,
        name: str,
        python: str,
        worker: str,
        options: Mapping[str, Any],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self._log = name, log
        self._command = [python, str(HERE / "serve.py"), str(HERE / worker), json.dumps(options)]
        self._environment = {**os.environ, **(env or {})}
        self._process: subprocess.Popen[str] | None = None
        self.about: dict[str, Any] = {}

    def ready(self) -> dict[str, Any]:
        """Start it and wait until it is built and warmed; what it says of itself.

        Raises:
            BenchError: it cannot be built.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as stream:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                env=self._environment,
                text=True,
            )
        self.about = self._answer()
        return self.about

    def measure(self, **how: Any) -> list[float]:
        """One turn: samples."""
        return self.ask(**how)

    def ask(self, **how: Any) -> list[Any]:
        """One turn: what the worker measures, where that is more than numbers."""
        assert self._process and self._process.stdin  # noqa: S101
        self._process.stdin.write(json.dumps(how) + "\n")
        self._process.stdin.flush()
        return self._answer()["samples"]

    def _answer(self) -> dict[str, Any]:
        assert self._process and self._process.stdout  # noqa: S101
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-3:]
            raise BenchError(
                f"{self.name} ended with exit code {self._process.returncode}: {' '.join(tail)[-400:]}; see {self._log}"
            )
        return json.loads(line)

    def close(self) -> None:
        if self._process is None:
            return
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def start_all(contenders: Sequence[Contender]) -> tuple[list[Contender], dict[str, str]]:
    """Those that can be built, one after the other, and why the others cannot."""
    able, why = [], {}
    for contender in contenders:
        try:
            contender.ready()
            able.append(contender)
        except BenchError as error:
            why[contender.name] = str(error)
    return able, why
