"""What a run says for itself: notes on params files at its start; at its end conclusions, also where jobs
failed, and a summary for the terminal.
"""

import contextlib
from datetime import datetime

from segcert.stage.advice import with_advice

TRIED_AGAIN = []
MARK = "# of a run that failed, "
COMPARING = ("baseline", "candidate", "compare")
# Rules that exercise nothing, so that there is nothing to conclude.
LOOKING = {"matrix", "compare", "write_run_config"}


def try_again():
    """Have planned cells that could not be exercised run again: what was missing may be there now. Their records.

    Their records get the age of stone, and so are older than what they are made from. What is made from one of
    them follows by itself. Nothing is run that the targets of this run do not need.
    """
    unverified = [cell for cell in PLANNED if record.is_to_be_tried_again(cell.record)]
    records = {cell.record for cell in unverified}
    roots = [
        cell.record
        for cell in unverified
        if not any(above.record in records for above in TABLE.parents(cell))
    ]
    for path in roots:
        with contextlib.suppress(OSError):  # somebody else's file: it stays as it is
            os.utime(path, (1, 1))
    return roots


def tell_what_is_tried_again():
    """Of this run's jobs, once it starts."""
    made = {path for job in workflow.dag.needrun_jobs() for path in job.output}
    if again := [path for path in TRIED_AGAIN if path in made]:
        print(f"note: unverified when they last ran, so tried again: {', '.join(again)}", file=sys.stderr)


def lost_records():
    """Records of the jobs that failed in this run and left no record of the failure, fresh or at all."""
    outputs = [job.output.get("record") for job in workflow.scheduler.failed] if workflow.scheduler else []
    failures = {path: record.failure(path) for path in outputs if path}
    now = files.stamps(failures.values())
    return [
        path for path, file in failures.items() if file not in now or now[file] == FAILED_BEFORE.get(file)
    ]


def only_compared():
    """Whether nothing failed but comparisons, which have no conclusions to write."""
    failed = workflow.scheduler.failed if workflow.scheduler else []
    return bool(failed) and all(job.rule.name == "compare" for job in failed)


def draft_run_config():
    """Keep what write_run_config publishes."""
    files.write_text(f"results/{MODE}/.run_config.yaml", yaml.safe_dump(RUN_CONFIG, allow_unicode=True))


def kept_are_red():
    """Whether the conclusions that there are, of whichever run, are red; by their beginning, because they may be long."""
    try:
        with open(f"results/{MODE}/conclusions.json", encoding="utf-8") as stream:
            return '"red": true' in stream.read(record.HEAD)
    except (OSError, ValueError):
        return False


def mark_run_config(text):
    """Make conclusions that are red older than a file that they are made from, and that holds what it never held.

    Else a run would find them made, have nothing to do, and end as if all were well: Snakemake goes by times, and by
    the content that it remembers.
    """
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S.%f}"
    files.write_text(f"results/{MODE}/run_config.yaml", f"{text.partition(MARK)[0]}{MARK}{now}\n")


def conclude_after_failure():
    """Write the conclusions although jobs failed, and show what is red."""
    run_config, conclusions = f"results/{MODE}/run_config.yaml", f"results/{MODE}/conclusions.json"
    try:
        mark_run_config(yaml.safe_dump(RUN_CONFIG, allow_unicode=True))
    except OSError as error:
        print(f"no conclusions: {with_advice(str(error), Path('.'))}", file=sys.stderr)
        return
    command = conclude_command(f"{SCRIPTS}/conclude.py", run_config, conclusions)
    lost = [f"--lost={path}" for path in lost_records()]
    subprocess.run([sys.executable, *command, *lost], check=False)
    command = page_command(
        f"{SCRIPTS}/make_page.py", run_config, conclusions, f"results/{MODE}/conclusions.html"
    )
    subprocess.run([sys.executable, *command], check=False)
    if evidence_is_asked_for():
        command = evidence_command(f"{SCRIPTS}/pack_evidence.py", run_config, f"results/{MODE}/evidence.zip")
        # An environment of conda's is there in a job alone.
        subprocess.run([sys.executable, *command, *([] if IN_CONDA else ["--python", PYTHON])], check=False)


def same_run(run_config):
    """Whether conclusions of that configuration are those of this one; what to compare with is no part of them."""

    def part(run):
        return {
            **run,
            "settings": {key: value for key, value in run["settings"].items() if key not in COMPARING},
        }

    return part(run_config) == part(json.loads(json.dumps(RUN_CONFIG)))


def unmark_run_config():
    """Take out what a failed run wrote into run_config.yaml: the conclusions are made. Nothing gets stale by it."""
    path = Path(f"results/{MODE}/run_config.yaml")
    with contextlib.suppress(OSError):
        text, times = path.read_text(encoding="utf-8"), path.stat()
        plain = text.partition(MARK)[0]
        if plain != text:
            files.write_text(path, plain)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def show_conclusions():
    """Show the summary that the last conclusions printed, and the page, where this run made or kept them.

    A run of named files may leave conclusions that are older than a record, or of another configuration.
    """
    if {job.rule.name for job in workflow.dag.jobs} <= LOOKING:
        return
    conclusions = Path(f"results/{MODE}/conclusions.json")
    records = [path for cell in PLANNED if (path := Path(cell.record)).exists()]
    try:
        kept = yaml.safe_load(Path(f"results/{MODE}/run_config.yaml").read_text(encoding="utf-8"))
        made = conclusions.stat().st_mtime_ns
    except (OSError, yaml.YAMLError):
        return
    if not same_run(kept) or any(path.stat().st_mtime_ns > made for path in records):
        print(f"{conclusions} is older than this run: run without naming files to renew it", file=sys.stderr)
        return
    for name in ("conclusions", "page", *(["evidence"] if evidence_is_asked_for() else [])):
        if (log := Path(f"results/{MODE}/{name}.log")).exists():
            print(log.read_text(encoding="utf-8"), file=sys.stderr, end="")


def refuse_red():
    """End with an exit code that is not 0 where this run took red conclusions for made, as by --touch."""
    if kept_are_red() and any(job.rule.name == "conclude" for job in workflow.dag.jobs):
        raise WorkflowError(f"results/{MODE}/conclusions.json is red: start again without --touch")


if workflow.is_main_process:
    for note in [*SETTINGS.get("params", {}).get("notes", []), *TOLD]:
        print(f"note: {note}", file=sys.stderr)
    if CLEARED:
        print(f"note: set aside for all stages: {', '.join(CLEARED)}", file=sys.stderr)
    if HARDWARE.setting == "auto" and not HARDWARE.gpus and gpus.listed().there:
        print(f"note: no GPU is used: {HARDWARE.told}", file=sys.stderr)
    if workflow.modifier.is_main_snakefile():
        TRIED_AGAIN = try_again()
        if kept_are_red():
            with contextlib.suppress(OSError):
                mark_run_config(Path(f"results/{MODE}/run_config.yaml").read_text(encoding="utf-8"))
    else:
        draft_run_config()  # Snakemake calls no `onstart` of a module
