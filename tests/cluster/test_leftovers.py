"""A run of these tests that was killed does not keep the next one from its Slurm; what is not theirs is left alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import slurm

START = """
import sys, time
from pathlib import Path
from slurm import cluster

with cluster(Path(sys.argv[1])) as host:
    print(host, flush=True)
    time.sleep(600)
"""


def test_the_cluster_of_a_killed_run_is_ended_and_another_one_starts(tmp_path):
    left = tmp_path / "left"
    first = subprocess.Popen(
        [sys.executable, "-c", START, left], cwd=Path(slurm.__file__).parent, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    host = first.stdout.readline().strip()
    assert host
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    daemons = {int(path.read_text()) for path in left.glob("run/*.pid")}
    assert len(daemons) == 2
    assert all(Path(f"/proc/{pid}").exists() for pid in daemons)
    with slurm.cluster(tmp_path / "next") as again:
        assert again == host
        assert not any(Path(f"/proc/{pid}").exists() for pid in daemons)
        assert (slurm.ETC / "slurm.conf").resolve() == tmp_path / "next/etc/slurm.conf"
    assert not any((slurm.ETC / name).is_symlink() for name in ("slurm.conf", "gres.conf"))


def test_a_link_to_a_file_that_is_gone_is_taken_away(tmp_path):
    place = tmp_path / "slurm.conf"
    place.symlink_to(tmp_path / "gone/etc/slurm.conf")
    slurm.clear(place)
    assert not place.is_symlink()


@pytest.mark.parametrize("linked", [False, True])
def test_a_slurm_of_the_machine_is_left_alone(tmp_path, linked):
    place = tmp_path / "slurm.conf"
    real = tmp_path / "site/etc/slurm.conf"
    real.parent.mkdir(parents=True)
    real.write_text("ClusterName=production\n")
    if linked:
        place.symlink_to(real)
    else:
        place.write_text(real.read_text())
    with pytest.raises(RuntimeError, match="left alone"):
        slurm.clear(place)
    assert place.read_text() == "ClusterName=production\n"
    assert real.exists()
