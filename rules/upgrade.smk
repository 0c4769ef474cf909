"""Several sides (versions of Paddle, wheels, interpreters, commits of PaddleSeg) of the matrix, and whether to upgrade.

Inputs: the configuration; each side's runs have their own results.
Outputs: results/upgrade/<name>/upgrade.{md,json,html}, and <side>/<repeat>/results/ as any run has them.
"""


# Without outputs of Snakemake's, like the rule compare: a side that is worse fails the job, and that is the finding.
# All cores are this job's, and it hands them on to the runs that it starts.
rule upgrade:
    log:
        f"results/{MODE}/upgrade.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: workflow.resource_settings.cores or 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=1440,
    params:
        script=f"{SCRIPTS}/upgrade.py",
        options=series_options(RUN.upgraded),
    shell:
        '"$WORKFLOW_PYTHON" {params.script:q} {params.options:q} 2>&1 | tee {log:q}'
