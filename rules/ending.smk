"""What a run says for itself: notes at its start; at its end conclusions, also where jobs failed, and a summary.

What is decided is in scripts/segcert/ending.py; here is what Snakemake knows of the run.
"""

TRIED_AGAIN = []


def own_names(jobs):
    """The rules of jobs by the names that they have here: a module may call them otherwise."""
    here = {getattr(rules, name).rule.name: name for name in ending.ASKED_FOR if rules.has(name)}
    return [here.get(job.rule.name, job.rule.name) for job in jobs]


def job_rules():
    return set(own_names(workflow.dag.jobs))


def failed_jobs():
    return workflow.scheduler.failed if workflow.scheduler else []


def only_compared():
    return ending.only_compared(own_names(failed_jobs()))


def draft_run_config():
    ending.draft(RUN)
    given = dict(workflow.global_resources.unwrapped_items())
    ending.draft_series(
        RUN, config, workflow.config_settings.overwrite_config, workflow.resource_settings.cores, given
    )


def tell(note):
    print(f"note: {note}", file=sys.stderr)


def tell_what_is_tried_again():
    made = {path for job in workflow.dag.needrun_jobs() for path in job.output}
    if note := ending.told_again(TRIED_AGAIN, made):
        tell(note)


def conclude_after_failure():
    """Write the conclusions although jobs failed, and show what is red. Where only a comparison failed, nothing."""
    if only_compared():
        return
    lost = ending.lost([job.output.get("record") for job in failed_jobs()], FAILED_BEFORE)
    rules_of_jobs = job_rules()
    ending.after_failure(
        RUN, lost, evidence=ending.packs(rules_of_jobs), certificate=ending.certifies(rules_of_jobs)
    )


def show_conclusions():
    """End a run of which no job failed: show the conclusions and the page that it made or kept, and refuse red ones."""
    ended = job_rules()
    ending.show(RUN, ended)
    ending.unmark(RUN)
    if why := ending.red_all_the_same(RUN, ended):
        raise WorkflowError(why)


if workflow.is_main_process:
    for note in ending.notes(RUN):
        tell(note)
    TRIED_AGAIN = ending.try_again(RUN)
    ending.mark_again(RUN)
    if not workflow.modifier.is_main_snakefile():
        draft_run_config()  # Snakemake calls no `onstart` of a module
