"""This run's conclusions compared with another's, as they are: nothing is run again.

Inputs: the baseline and the candidate that the configuration names (by default results/<mode>/conclusions.json).
Outputs: results/<mode>/compare.md and compare.json, written also where the job fails because something got worse.
"""


# Without outputs of Snakemake's, and a benchmark would be one: it would delete those of a job that fails, and the
# failure is the finding; and it would take the next comparison, with another baseline, for done.
rule compare:
    log:
        f"results/{MODE}/compare.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        script=f"{SCRIPTS}/compare.py",
        files=compared_files,
        settings=json.dumps(SETTINGS["compare"]),
        folder=f"results/{MODE}",
    shell:
        '"$WORKFLOW_PYTHON" {params.script:q} {params.files:q} --settings {params.settings:q}'
        " --markdown {params.folder:q}/compare.md --json {params.folder:q}/compare.json 2>&1 | tee {log:q}"
