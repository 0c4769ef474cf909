"""Pack a run's certificate into one file that travels: conclusions, records, logs, and which models they are of."""

import argparse
import sys
from pathlib import Path

import verify
from segcert.errors import StageError
from segcert.show import certificatepack
from segcert.stage.advice import with_advice


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--run-config", type=Path, required=True, help="the run's run_config.yaml")
    options.add_argument("--sign", metavar="KEY", help="a private key of ssh to sign it with")
    options.add_argument("--pack", type=Path, required=True, help="the zip to write")
    args = options.parse_args()
    try:
        # Nobody is to be sent what does not hold.
        made = certificatepack.pack(args.run_config, args.pack, args.sign, check=verify.verify)
    except (OSError, StageError) as error:
        print(f"no certificate: {with_advice(str(error), args.pack.parent)}", file=sys.stderr)
        return 1
    except (verify.Broken, verify.Unreadable) as error:
        print(f"no certificate: what was packed does not hold: {error}", file=sys.stderr)
        return 1
    signed = "signed" if args.sign else "not signed"
    print(
        f"certificate: {args.pack} ({made.bytes / 1e6:.1f} MB, {len(made.names)} files, {signed}): "
        f"python {Path(verify.__file__).name} {args.pack.name} checks it anywhere",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
