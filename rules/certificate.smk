"""A certificate that travels: conclusions, records and logs in one file that verify.py checks anywhere.

Inputs: the conclusions with their page, and with them every record of the run.
Outputs: results/<mode>/certificate.zip, which no other rule needs: `snakemake certificate` makes it, also where jobs
failed (ending.smk).
"""


# Without a wildcard in its output, so that it can be asked for by its name.
rule certificate:
    input:
        run_config=f"results/{MODE}/run_config.yaml",
        conclusions=expand(rules.conclude.output, mode=MODE),
        page=expand(rules.page.output, mode=MODE),
    output:
        pack=f"results/{MODE}/certificate.zip",
    log:
        f"results/{MODE}/certificate.log",
    benchmark:
        f"results/{MODE}/certificate.bench.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("pack_certificate.py"),
        command=lambda wildcards, input, output: ending.certificate_command(
            f"{SCRIPTS}/pack_certificate.py", input.run_config, output.pack, ending.signing_key(RUN)
        ),
    shell:
        '"$WORKFLOW_PYTHON" {params.command:q} 2> {log:q}'
