"""Export of checkpoints: inference model, deploy.yaml, ONNX.

Inputs: a checkpoint and its model's configuration.
Outputs: export/ and export.json beside the checkpoint.
"""


rule export:
    input:
        config=model_config,
        bases=model_config_bases,
        checkpoint="results/{mode}/{model}/{train_cell}/model.pdparams",
        upstream="results/{mode}/{model}/{train_cell}/train.json",
    output:
        export=directory("results/{mode}/{model}/{train_cell}/export"),
        record="results/{mode}/{model}/{train_cell}/export.json",
    log:
        "results/{mode}/{model}/{train_cell}/export.log",
    benchmark:
        "results/{mode}/{model}/{train_cell}/export.bench.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=resource_of("export", "gpus"),
        mem_mb=resource_of("export", "memory_mb", 6000),
        runtime=resource_of("export", "runtime"),
    params:
        code=code_of("export.py"),
        script=f"{SCRIPTS}/export.py",
        python=SETTINGS["python"],
        options=of_cell("export", "options"),
        limits=limits_of("export"),
        software=of_cell("export", "software"),  # not for the command: so that another version runs anew
        configuration=configuration,  # the same: a file may come here with the time that it had elsewhere
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} {params.limits:q} --paddleseg "$STAGE_PADDLESEG"'
        " --upstream {input.upstream:q} --config {input.config:q} --checkpoint {input.checkpoint:q}"
        " --export {output.export:q} --record {output.record:q} --log {log:q}"
