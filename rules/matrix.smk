"""The matrix of a run, explained: `snakemake matrix` prints every combination and what becomes of it.

Inputs: the configuration alone. Outputs: none.
"""


# Without a benchmark, which would be an output and keep the second call from printing anything.
rule matrix:
    input:
        run_config=f"results/{MODE}/run_config.yaml",
    log:
        f"results/{MODE}/matrix.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=200,
        runtime=5,
    params:
        script=f"{SCRIPTS}/matrix.py",
    shell:
        '"$WORKFLOW_PYTHON" {params.script:q} --run-config {input.run_config:q} 2> {log:q}'
