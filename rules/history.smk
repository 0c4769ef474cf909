"""Runs over time: `snakemake keep` keeps a compact copy of a run's conclusions, `snakemake history` shows all that are kept.

Inputs: results/<mode>/conclusions.json as it is, and the folder that the configuration names (`history.folder`).
Outputs: a file in that folder; results/history/{index.html,history.json,badge.json}. Nothing is run again for them.
"""


# Both without inputs and outputs of Snakemake's, like the rule compare: what is kept is what is there, and what it would
# take for made may be of other runs.
rule keep:
    log:
        f"results/{MODE}/keep.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        script=f"{SCRIPTS}/keep.py",
        conclusions=f"results/{MODE}/conclusions.json",
        folder=RUN.history,
    shell:
        '"$WORKFLOW_PYTHON" {params.script:q} --conclusions {params.conclusions:q} --folder {params.folder:q}'
        " 2>&1 > /dev/null | tee {log:q}"


rule history:
    log:
        "results/history.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        script=f"{SCRIPTS}/history.py",
        kept=RUN.history,
        mode=MODE,
        settings=json.dumps(SETTINGS["compare"]),
    shell:
        '"$WORKFLOW_PYTHON" {params.script:q} --kept {params.kept:q} --folder results/history --mode {params.mode:q}'
        " --settings {params.settings:q} 2>&1 | tee {log:q}"
