"""A folder that stands alone for one cell that failed, to attach to an issue of whoever is to mend the fault.

Inputs: the record that the key `cell` names, and what the cell was made from; nothing is run again for it but the
script of the folder itself.
Outputs: results/<mode>/repro/<as the record>/ and a zip of it: `snakemake repro --config cell=RECORD` makes them.
"""


# Without outputs of Snakemake's, like the rule compare: it would take the folder of an older attempt for made, and run
# the cell that failed if it were an input.
rule repro:
    log:
        f"results/{MODE}/repro.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=30,
    params:
        script=f"{SCRIPTS}/repro.py",
        cell=reproduced_cell,
    shell:
        '"$STAGE_PYTHON" {params.script:q} --cell {params.cell:q} --paddleseg "$STAGE_PADDLESEG" 2>&1 | tee {log:q}'
