"""ONNX Runtime on the export's ONNX model, on a CPU or a GPU."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from segcert.compute.engines.base import Run, free
from segcert.compute.engines.onnx import OnnxEngine
from segcert.errors import StageError, Unverified

PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
TYPES = {"float": "fp32", "float16": "fp16", "uint8": "int8", "int8": "int8"}


class OnnxRuntime(OnnxEngine):
    """Its CPU or its CUDA provider."""

    name = "onnxruntime"

    def build(self) -> None:
        provider = PROVIDERS[self.device]
        if provider not in onnxruntime.get_available_providers():
            raise Unverified(f"this onnxruntime has no {provider}; install onnxruntime-gpu in its place")
        if self.device == "gpu":
            onnxruntime.preload_dlls()  # the CUDA libraries that pip installed, where there are some
        options = onnxruntime.SessionOptions()
        if self.of_logits:  # nobody times it, so that one session gives them and tells what it ran
            self._profile = tempfile.TemporaryDirectory()
            _profile_to(options, self._profile.name)
        try:
            self.session = self._session(options, provider)
        except Exception as error:
            # Where it may not fall back, it does not say whether the provider did not start or leaves out a node.
            allowed = onnxruntime.InferenceSession(self.model(), providers=[provider])
            if provider in allowed.get_providers():
                raise
            raise Unverified(
                f"onnxruntime could not start {provider}, see the log: do its CUDA and cuDNN fit the driver?"
            ) from error
        self._name = self.session.get_inputs()[0].name

    def _session(self, options: Any, provider: str) -> Any:
        options.log_severity_level = 3  # errors; it warns of every initializer that it drops
        options.intra_op_num_threads = _shared(self.threads, self.several)
        options.inter_op_num_threads = 1
        chosen: list[Any] = [provider]
        if self.device == "gpu":
            # Otherwise nodes that CUDA does not take run on the CPU in silence.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            chosen = [(provider, {"use_tf32": "0"})]  # TF32 keeps 10 bits of a float32's 23
        return onnxruntime.InferenceSession(self.model(), options, providers=chosen)

    def release(self) -> None:
        del self.session

    def streams(self) -> list[Run]:
        return [self.run] * self.several  # a session may be called by several threads at once

    def given(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        given: NDArray[Any] = self.session.run(None, {self._name: batch})[0]
        return given

    def input_shape(self) -> list[int | None]:
        return free(self.session.get_inputs()[0].shape)

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        nodes = self._executed_nodes(batch)
        convolutions = Counter((node["provider"], node["dtype"]) for node in nodes if "Conv" in node["op"])
        if not convolutions:
            raise StageError("ONNX Runtime's profile shows no convolution; what computed is unknown")
        (provider, dtype), _ = convolutions.most_common(1)[0]
        effective = {
            "device": next((device for device, name in PROVIDERS.items() if name == provider), provider),
            "engine": "onnxruntime",
            "precision": TYPES.get(dtype, dtype),
            "threads": _of_each(self.session.get_session_options().intra_op_num_threads, self.several),
        }
        seen = Counter(node["provider"] for node in nodes)
        shown = {f"{provider} {dtype}": count for (provider, dtype), count in convolutions.items()}
        precisions: Counter[str] = Counter()
        for (_, found), count in convolutions.items():
            precisions[TYPES.get(found, found)] += count
        return effective, {"nodes": dict(seen), "convolutions": shown, "precisions": dict(precisions)}

    def _executed_nodes(self, batch: NDArray[np.float32]) -> list[dict[str, str]]:
        """Each node that one batch executes, with its operator, provider and input dtype, from a profile.

        Of a session that gives logits, those that it has executed so far.

        Source of the format: onnxruntime documentation, "Profiling tools" (Chrome trace events).
        """
        if self.of_logits:
            return _nodes(self.session)
        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            _profile_to(options, folder)
            session = self._session(options, PROVIDERS[self.device])
            session.run(None, {self._name: batch})
            return _nodes(session)


def _shared(threads: int, streams: int) -> int:
    """The threads of a session whose callers have so many each: its pool is that less the one that calls it."""
    return streams * (threads - 1) + 1


def _of_each(shared: int, streams: int) -> int:
    return (shared - 1) // streams + 1


def _profile_to(options: Any, folder: str) -> None:
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(folder) / "profile")


def _nodes(session: Any) -> list[dict[str, str]]:
    """The nodes of a session's profile, which ends with that."""
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = []
    for event in events:
        args = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in args:
            shapes = args.get("input_type_shape") or [{}]
            nodes.append(
                {
                    "op": args.get("op_name", "unknown"),
                    "provider": args["provider"],
                    "dtype": next(iter(shapes[0]), "unknown"),
                }
            )
    return nodes
