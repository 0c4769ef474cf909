"""A cell of the conclusions, as tables, plots and comparisons look at it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from segcert import sizes, statuses

# What a cell is called: see `Concluded.label`.
Form = Literal["short", "full", "engine", "column", "plain"]
STATIC = " as static graph"  # after the precision of a training that is one


@dataclass(frozen=True, eq=False)
class Concluded(Mapping[str, Any]):
    """A view of a cell as `conclusions.json` holds it, and had by the same keys.

    What only a run can know is missing where there was none: here it is empty, or None.
    """

    content: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.content)

    def __len__(self) -> int:
        return len(self.content)

    @property
    def status(self) -> statuses.Status:
        """ValueError: there is none of that name."""
        return statuses.by_name(self["status"])

    @property
    def requested(self) -> Mapping[str, Any]:
        return self._part("requested")

    @property
    def effective(self) -> Mapping[str, Any]:
        return self._part("effective")

    @property
    def metrics(self) -> Mapping[str, Any]:
        return self._part("metrics")

    @property
    def env(self) -> Mapping[str, Any]:
        return self._part("env")

    @property
    def machine(self) -> tuple[str, ...]:
        """What its times are of besides the code: the CPU, its cores, and the GPUs that it had or, not told, has."""
        found = (self.env.get("cpu"), self.env.get("cpu_cores"), self.gpu_models or self.env.get("gpu"))
        return tuple(map(str, found))

    @property
    def gpu_models(self) -> list[str]:
        """Models of the devices that its job was given; empty where it had none, or not each is known."""
        models = [str(device.get("model") or "") for device in self.get("gpus") or ()]
        return sorted(models) if all(models) else []

    @property
    def timing(self) -> Mapping[str, Any]:
        """The statistics of an inference cell, in milliseconds a batch."""
        return self.metrics.get("inference_ms") or {}

    @property
    def p50(self) -> float | None:
        """The median of that."""
        return self.timing.get("p50")

    @property
    def gates(self) -> list[Mapping[str, Any]]:
        return [gate for gate in self.metrics.get("gates") or () if isinstance(gate, Mapping)]

    @property
    def weak(self) -> bool:
        """Whether the cell passed, and none of what it was held to says much: neither label maps nor logits.

        An engine that gave one class everywhere, and logits that are constant over each image, would have passed too.
        """
        told = [gate["weak"] for gate in self.gates if "weak" in gate]
        return self.status is statuses.PASSED and True in told and False not in told

    @property
    def precision(self) -> str:
        """The precision, and the graph where that is static; or in its place what is asked for that has none: weights,
        or what is not done here.
        """
        asked = self.requested
        graph = STATIC if asked.get("graph") == "to_static" else ""
        if asked.get("precision") == "amp":
            return f"AMP {asked['level']} {asked['dtype']}{graph}"
        return str(asked.get("precision") or asked.get("what") or "released weights") + graph

    @property
    def place(self) -> list[str]:
        """Train cell, stage and name, as far as it has them; each word once."""
        parts = (self.get("train_cell"), self["stage"], self["cell"])
        return list(dict.fromkeys(part for part in parts if part))

    def label(self, form: Form) -> str:
        """What the cell is called.

        Args:
            form: full: what tells it from all others of its checkpoint: device, engine, precision, threads (T) and
                batch size. short: the same without device and batch size. engine: with the device alone, where
                threads and batch size are told apart by other means. column: for the head of a table's column. plain:
                engine, precision and threads, whatever else is asked.
                Of a cell that is no inference its name, in a column the stage and the checkpoint; of one of
                PaddleSeg's own scripts its name.
        """
        asked = self.requested
        if self["stage"] == "scripts":
            return str(self["cell"])
        if self["stage"] != "infer":
            return " ".join(filter(None, (self["stage"], self.get("train_cell")))) if form == "column" else self["cell"]
        what, device, batch = f"{asked.get('engine')} {self.precision}", asked.get("device"), asked.get("batch_size")
        if form != "plain":
            what += f" · {asked['streams']} streams" if "streams" in asked else ""
            what += (
                f" · {sizes.written(asked['size'])}" if "size" in asked else " · dynamic" if "shapes" in asked else ""
            )
        if form == "engine":
            return f"GPU {what}" if device == "gpu" else what
        if form == "column":
            threads = f"{asked.get('threads')} thr." if device == "cpu" else "gpu"
            return f"{what}, {threads}, batch {batch}"
        if device != "gpu" and "threads" in asked:
            what += f" · {asked['threads']}T"
        return what if form in ("short", "plain") else f"{device} {what} · batch {batch}"

    def _part(self, key: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.get(key) or {}
        return found
