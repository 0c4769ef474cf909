"""Evaluation of checkpoints, and the label maps that inference must reproduce.

Inputs: a checkpoint, its model's configuration, its data set.
Outputs: eval.json and reference/ beside the checkpoint.
"""


rule evaluate:
    input:
        config=model_config,
        bases=model_config_bases,
        dataset=model_dataset,
        checkpoint="results/{mode}/{model}/{train_cell}/model.pdparams",
        upstream="results/{mode}/{model}/{train_cell}/train.json",
    output:
        reference=directory("results/{mode}/{model}/{train_cell}/reference"),
        record="results/{mode}/{model}/{train_cell}/eval.json",
    log:
        "results/{mode}/{model}/{train_cell}/eval.log",
    benchmark:
        "results/{mode}/{model}/{train_cell}/eval.bench.tsv"
    conda:
        ENVIRONMENT
    threads: resource_of("eval", "threads")
    resources:
        gpu=resource_of("eval", "gpus"),
        mem_mb=resource_of("eval", "memory_mb", 6000),
        runtime=resource_of("eval", "runtime"),
    params:
        code=code_of("evaluate.py"),
        script=f"{SCRIPTS}/evaluate.py",
        python=SETTINGS["python"],
        options=of_cell("eval", "options"),
        limits=limits_of("eval"),
        software=of_cell("eval", "software"),  # not for the command: so that another version runs anew
        configuration=configuration,  # the same: a file may come here with the time that it had elsewhere
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} {params.limits:q} --paddleseg "$STAGE_PADDLESEG"'
        " --upstream {input.upstream:q} --config {input.config:q} --dataset {input.dataset:q} --checkpoint {input.checkpoint:q}"
        " --reference {output.reference:q} --record {output.record:q} --log {log:q}"
