"""What a run says for itself: notes at its start; at its end conclusions, also where jobs failed, and a summary.

What is decided is in scripts/segcert/ending.py; here is what Snakemake knows of the run.
"""

TRIED_AGAIN = []


def job_rules():
    return {job.rule.name for job in workflow.dag.jobs}


def failed_jobs():
    return workflow.scheduler.failed if workflow.scheduler else []


def only_compared():
    return ending.only_compared([job.rule.name for job in failed_jobs()])


def draft_run_config():
    ending.draft(RUN)


def tell(note):
    print(f"note: {note}", file=sys.stderr)


def tell_what_is_tried_again():
    made = {path for job in workflow.dag.needrun_jobs() for path in job.output}
    if note := ending.told_again(TRIED_AGAIN, made):
        tell(note)


def conclude_after_failure():
    """Write the conclusions although jobs failed, and show what is red."""
    lost = ending.lost([job.output.get("record") for job in failed_jobs()], FAILED_BEFORE)
    rules = job_rules()
    ending.after_failure(RUN, lost, evidence=ending.packs(rules), certificate=ending.certifies(rules))


def unmark_run_config():
    ending.unmark(RUN)


def show_conclusions():
    """Show the summary of the conclusions and the page, where this run made or kept them."""
    ending.show(RUN, job_rules())


def refuse_red():
    if why := ending.red_all_the_same(RUN, job_rules()):
        raise WorkflowError(why)


if workflow.is_main_process:
    for note in ending.notes(RUN):
        tell(note)
    if workflow.modifier.is_main_snakefile():
        TRIED_AGAIN = ending.try_again(RUN)
        ending.mark_again(RUN)
    else:
        draft_run_config()  # Snakemake calls no `onstart` of a module
