"""The conclusions of a run, from the records of its cells.

Inputs: the record of every planned cell.
Outputs: results/<mode>/conclusions.{md,csv,json,html}, conclusions.zh.md, junit.xml, results_python.log,
run_config.yaml.
"""


rule write_run_config:
    output:
        "results/{mode}/run_config.yaml",
    log:
        "results/{mode}/run_config.log",
    benchmark:
        "results/{mode}/run_config.bench.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=200,
        runtime=5,
    params:
        run=RUN.digest,  # so that another configuration is written anew
    shell:
        # Drafted as the run starts: `run:` would start a second Snakemake for it, which takes two seconds.
        "cp results/{wildcards.mode:q}/.run_config.yaml {output:q} 2> {log:q}"


rule conclude:
    input:
        run_config="results/{mode}/run_config.yaml",
        records=[cell.record for cell in PLANNED],
    output:
        json="results/{mode}/conclusions.json",
        markdown=report(
            "results/{mode}/conclusions.md",
            caption="../report/tables.rst",
            category="Conclusions",
            labels={"file": "tables"},
        ),
        chinese=report(
            "results/{mode}/conclusions.zh.md",
            caption="../report/tables_zh.rst",
            category="Conclusions",
            labels={"file": "tables in Chinese"},
        ),
        table=report(
            "results/{mode}/conclusions.csv",
            caption="../report/cells.rst",
            category="Conclusions",
            labels={"file": "every cell"},
        ),
        junit="results/{mode}/junit.xml",
        status_lines=report(
            "results/{mode}/results_python.log",
            caption="../report/status_lines.rst",
            category="Conclusions",
            labels={"file": "status lines"},
        ),
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
    params:
        code=code_of("conclude.py", "segcert/show/templates"),
        command=lambda wildcards, input, output: ending.conclude_command(
            f"{SCRIPTS}/conclude.py", input.run_config, output.json
        ),
    shell:
        '"$WORKFLOW_PYTHON" {params.command:q} 2> {log:q}'


rule page:
    input:
        run_config="results/{mode}/run_config.yaml",
        # made again whenever a record changed; the logs and pictures beside the records are then as new
        conclusions="results/{mode}/conclusions.json",
    output:
        page=report(
            "results/{mode}/conclusions.html",
            caption="../report/page.rst",
            category="Conclusions",
            labels={"file": "the page"},
        ),
    log:
        "results/{mode}/page.log",
    benchmark:
        "results/{mode}/page.bench.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("make_page.py", "segcert/show/templates/page"),
        command=lambda wildcards, input, output: ending.page_command(
            f"{SCRIPTS}/make_page.py", input.run_config, input.conclusions, output.page
        ),
    shell:
        '"$WORKFLOW_PYTHON" {params.command:q} 2> {log:q}'
