"""Quantisation of exports to int8, after training.

Inputs: an exported model with its ONNX, and its data set, whose training images it is calibrated on.
Outputs: quantised/ and quantised.json beside the checkpoint.
"""


rule quantise:
    input:
        dataset=model_dataset,
        export="results/{mode}/{model}/{train_cell}/export",
        exported="results/{mode}/{model}/{train_cell}/export.json",
    output:
        quantised=directory("results/{mode}/{model}/{train_cell}/quantised"),
        record="results/{mode}/{model}/{train_cell}/quantised.json",
    log:
        "results/{mode}/{model}/{train_cell}/quantised.log",
    benchmark:
        "results/{mode}/{model}/{train_cell}/quantised.bench.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=resource_of("quantise", "gpus"),
        mem_mb=resource_of("quantise", "memory_mb", 4000),
        runtime=resource_of("quantise", "runtime"),
    params:
        code=code_of("quantise.py"),
        script=f"{SCRIPTS}/quantise.py",
        python=SETTINGS["python"],
        options=of_cell("quantise", "options"),
        limits=limits_of("quantise"),
        software=of_cell("quantise", "software"),  # not for the command: so that another version runs anew
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} {params.limits:q} --paddleseg "$STAGE_PADDLESEG"'
        " --upstream {input.exported:q} --export {input.export:q} --dataset {input.dataset:q}"
        " --quantised {output.quantised:q} --record {output.record:q} --log {log:q}"
