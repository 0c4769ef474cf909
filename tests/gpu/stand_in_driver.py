"""A stand-in for the driver's command: a script called nvidia-smi that lists made-up GPUs, or misbehaves.

It is on PATH of a test's processes alone. No kernel runs on what it lists.
"""

import os
from pathlib import Path

SCRIPT = r"""#!/bin/sh
# Stand-in: {count} x {name}.
echo "$*" >> "{log}"
{misbehaviour}
value() {{
  case "$2" in
  index) echo "$1" ;;
  name) echo "{name}" ;;
  driver_version) echo "535.104.05" ;;
  uuid) echo "GPU-5742a5e0-0000-0000-0000-00000000000$1" ;;
  memory.total) echo "40960" ;;
  compute_cap) echo "{capability}" ;;
  *) echo "Field \"$2\" is not a valid field to query."; exit 2 ;;
  esac
}}
case "$*" in
-L)
  for i in {indices}; do
    echo "GPU $i: {name} (UUID: $(value $i uuid))"
    for instance in {instances}; do
      echo "  MIG 1g.5gb      Device  $instance: (UUID: MIG-5742a5e0-0000-0000-000$i-00000000000$instance)"
    done
  done ;;
-q) echo "==============NVSMI LOG=============="; echo "Driver Version : 535.104.05" ;;
--query-gpu=*)
  fields=$(echo "${{1#--query-gpu=}}" | tr ',' ' ')
  for i in {indices}; do
    row=""
    for field in $fields; do
      said=$(value "$i" "$field") || {{ echo "$said"; exit 2; }}
      row="$row${{row:+, }}$said"
    done
    echo "$row"
  done ;;
--query-compute-apps=gpu_uuid,pid*) {busy} ;;
--query-compute-apps=*) : ;;
esac
"""


def uuid(index: int) -> str:
    return f"GPU-5742a5e0-0000-0000-0000-00000000000{index}"


def instance(index: int, number: int) -> str:
    return f"MIG-5742a5e0-0000-0000-000{index}-00000000000{number}"


def install(
    folder: Path,
    count: int = 4,
    name: str = "Stand-in A100",
    capability: str = "8.0",
    instances: int = 0,
    busy: dict[int, int] | None = None,
    misbehaviour: str = ":",
) -> dict[str, str]:
    """Put the stand-in into a folder; the environment in which it is found.

    Args:
        instances: MIG instances of each GPU.
        busy: index -> a process that computes there.
        misbehaviour: shell commands that come before any answer, such as `sleep 60`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "nvidia-smi"
    lines = "; ".join(f'echo "{uuid(index)}, {pid}"' for index, pid in (busy or {}).items()) or ":"
    script.write_text(
        SCRIPT.format(
            count=count,
            name=name,
            capability=capability,
            log=asked(folder),
            indices=" ".join(map(str, range(count))),
            instances=" ".join(map(str, range(instances))),
            busy=lines,
            misbehaviour=misbehaviour,
        ),
        encoding="utf-8",
    )
    script.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def asked(folder: Path) -> Path:
    """The file with a line for each question that the stand-in was asked."""
    return folder / "asked"
