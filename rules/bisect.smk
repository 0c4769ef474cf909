"""The first version, wheel or commit in which a cell is worse.

Inputs: the configuration; each probe is a run with its own results.
Outputs: results/bisect/<name>/bisect.{md,json}, and <candidate>/<repeat>/results/ as any run has them.
"""


# Without outputs of Snakemake's, like the rule compare: a side that is worse fails the job, and that is the finding.
# All cores are this job's, and it hands them on to the runs that it starts.
rule bisect:
    log:
        f"results/{MODE}/bisect.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=1440,
    params:
        script=f"{SCRIPTS}/run_bisect.py",
        options=series_options(RUN.bisected),
    shell:
        '"$WORKFLOW_PYTHON" {params.script:q} {params.options:q} 2>&1 | tee {log:q}'
