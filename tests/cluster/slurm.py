"""A real single-node Slurm on loopback, with four declared GPUs and no hardware for them; needs root.

Debian's packages slurm-wlm and munge. Isolation of GPUs is by CUDA_VISIBLE_DEVICES alone (no cgroups).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

CONF = """\
ClusterName=certify
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/spoold
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
# Memory is looked at every second, and a job that is over its own is ended.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=1,sched_interval=2
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=3600
KillWait=5
DefMemPerCPU=100
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=20000 Gres=gpu:4 State=UNKNOWN
PartitionName=gpu Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
GRES = "AutoDetect=off\nNodeName={host} Name=gpu File={folder}/dev/nvidia[0-3]\n"
ETC = Path("/etc/slurm")


def clear(place: Path):
    """Take away what a run of these tests that was killed left at `place`, with its daemons.

    A link to a file of this cluster, or to one that is gone, was made here. Raises RuntimeError for anything else.
    """
    if place.is_symlink():
        folder = Path(os.readlink(place)).parent.parent
        conf = folder / "etc" / "slurm.conf"
        if not place.exists() or (conf.exists() and conf.read_text().startswith(CONF.partition("\n")[0])):
            for pid_file in folder.glob("run/*.pid"):
                _end(pid_file)
            place.unlink()
            return
    if place.exists():
        raise RuntimeError(f"{place} exists: this machine has a Slurm of its own, which is left alone")


def _end(pid_file: Path):
    """End the daemon that a pid file names, if the process is still that daemon."""
    process = Path("/proc") / pid_file.read_text().strip()
    with contextlib.suppress(OSError):
        if (process / "comm").read_text().strip() == pid_file.stem:
            os.kill(int(process.name), signal.SIGKILL)
            while process.exists():
                time.sleep(0.1)


@contextlib.contextmanager
def cluster(folder: Path):
    """Start munged, slurmctld and slurmd; stop them and take the configuration away afterwards."""
    host = socket.gethostname().split(".")[0]
    for name in ("etc", "ctld", "spoold", "log", "dev", "run"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(4):
        os.mknod(folder / f"dev/nvidia{index}", 0o666 | 0o020000, os.makedev(1, 3))  # like /dev/null
    files = {"slurm.conf": CONF, "gres.conf": GRES}
    ETC.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "etc" / name).write_text(text.format(host=host, folder=folder))
        clear(ETC / name)
    for name in files:
        # Jobs look in the default place: the plugin drops SLURM_CONF from their environment.
        (ETC / name).symlink_to(folder / "etc" / name)
    daemons = []
    try:
        _start_munge()
        for daemon in ("slurmctld", "slurmd"):
            with (folder / f"log/{daemon}.out").open("w") as log:
                daemons.append(
                    subprocess.Popen([f"/usr/sbin/{daemon}", "-D"], stdout=log, stderr=log, start_new_session=True)
                )
            time.sleep(2)
        _wait_idle(folder)
        yield host
    finally:
        subprocess.run(["scancel", "--user=root"], timeout=20, check=False, capture_output=True)
        time.sleep(1)
        for daemon in reversed(daemons):
            daemon.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(15)
            if daemon.poll() is None:
                daemon.kill()
        for name in files:
            (ETC / name).unlink(missing_ok=True)


def _start_munge():
    run = Path("/run/munge")
    run.mkdir(exist_ok=True)
    shutil.chown(run, "munge", "munge")
    run.chmod(0o755)
    if subprocess.run(["munge", "-n"], capture_output=True, timeout=10, check=False).returncode != 0:
        command = ["runuser", "-u", "munge", "--", "/usr/sbin/munged", "--force"]
        subprocess.run(command, timeout=30, check=True, capture_output=True)


def _wait_idle(folder: Path):
    for _ in range(60):
        asked = subprocess.run(["sinfo", "-h", "-o", "%t"], capture_output=True, text=True, timeout=10, check=False)
        if asked.stdout.strip() == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-2000:] for path in (folder / "log").iterdir())
    raise RuntimeError(f"Slurm does not come up: {asked.stdout}{asked.stderr}\n{logs}")
