"""The conclusions of a run, from the records of its cells.

Inputs: the record of every planned cell.
Outputs: results/<mode>/conclusions.{md,csv,json}, conclusions.zh.md, results_python.log, run_config.yaml.
"""


rule write_run_config:
    output:
        "results/{mode}/run_config.yaml",
    log:
        "results/{mode}/run_config.log",
    benchmark:
        "results/{mode}/run_config.bench.tsv"
    localrule: True
    threads: 1
    resources:
        gpu=0,
        mem_mb=200,
        runtime=5,
    params:
        run=json.dumps(RUN_CONFIG, sort_keys=True),  # so that another configuration is written anew
    shell:
        # Drafted as the run starts: `run:` would start a second Snakemake for it, which takes two seconds.
        "cp results/{wildcards.mode:q}/.run_config.yaml {output:q} 2> {log:q}"


rule conclude:
    input:
        script=f"{SCRIPTS}/conclude.py",
        modules=modules("conclude.py"),
        templates=sorted(
            f"{SCRIPTS}/segcert/templates/{name}" for name in os.listdir(f"{SCRIPTS}/segcert/templates")
        ),
        run_config="results/{mode}/run_config.yaml",
        records=[cell.record for cell in PLANNED],
    output:
        json="results/{mode}/conclusions.json",
        others=multiext("results/{mode}/conclusions", ".md", ".zh.md", ".csv"),
        status_lines="results/{mode}/results_python.log",
    log:
        "results/{mode}/conclusions.log",
    benchmark:
        "results/{mode}/conclusions.bench.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    shell:
        '"$WORKFLOW_PYTHON" {input.script:q} --run-config {input.run_config:q}'
        " --json {output.json:q} 2> {log:q}"
