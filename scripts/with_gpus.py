"""Run a command on GPUs of its own: wait for N devices, lease them, set CUDA_VISIBLE_DEVICES, run.

    python scripts/with_gpus.py -n 2 [--timeout S] [--busy warn|wait|refuse] -- command ...

The exit code is the command's; where a signal ended it, 128 + its number; 75 where there was no lease.
"""

import argparse
import os
import signal
import subprocess
import sys

from segcert.stage import leases

NO_LEASE = 75  # EX_TEMPFAIL of sysexits.h
NOT_FOUND = 127  # as a shell says it
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def run(command: list[str], lease: leases.Lease) -> int:
    """Run a command under a lease, passing on the signals that reach us; its exit code."""
    try:
        child = subprocess.Popen(command, env={**os.environ, **lease.environment}, pass_fds=lease.descriptors)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    for number in PASSED_ON:
        signal.signal(number, lambda received, _frame: child.send_signal(received))
    code = child.wait()
    return 128 - code if code < 0 else code


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-n", type=int, default=1, metavar="N", help="devices")
    options.add_argument("--timeout", type=float, metavar="S", help="give up after so many seconds")
    options.add_argument("--busy", choices=["warn", "wait", "refuse"], help="a device that computes for somebody else")
    options.add_argument("command", nargs="+", help="after --")
    args = options.parse_args()
    if args.n < 1:
        options.error("-n: at least 1")
    try:
        lease = leases.acquire(args.n, args.timeout, args.busy)
    except leases.LeaseError as error:
        print(f"with_gpus: {error}", file=sys.stderr)
        return NO_LEASE
    with_devices = ",".join(device.visible for device in lease.devices)
    print(f"with_gpus: devices {with_devices} by {lease.assigned_by}", file=sys.stderr)
    return run(args.command, lease)


if __name__ == "__main__":
    sys.exit(main())
