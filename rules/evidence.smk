"""One file to send to somebody who was not there: records, logs, versions, what the driver says of the GPUs.

Inputs: the conclusions, and with them every record of the run.
Outputs: results/<mode>/evidence.zip. The configuration says whether a run makes it (key `evidence`); a run that asked
for it makes it also where jobs failed (ending.smk).
"""


rule pack_evidence:
    input:
        run_config="results/{mode}/run_config.yaml",
        conclusions=rules.conclude.output,
        page=rules.page.output,
    output:
        pack="results/{mode}/evidence.zip",
    log:
        "results/{mode}/evidence.log",
    benchmark:
        "results/{mode}/evidence.bench.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("pack_evidence.py", "segcert/show/templates/page"),
        command=lambda wildcards, input, output: ending.evidence_command(
            f"{SCRIPTS}/pack_evidence.py", input.run_config, output.pack
        ),
    shell:
        '"$WORKFLOW_PYTHON" {params.command:q} --python "$STAGE_PYTHON" 2> {log:q}'
