"""Checkpoints: trained here, or the released ones, as `train.checkpoints` says.

Inputs: the model's configuration, its data set, the weights that it starts from where there are some.
Outputs: model.pdparams, train.json and history.csv in results/<mode>/<model>/<train cell>/.
"""


rule train:
    input:
        config=model_config,
        bases=model_config_bases,
        dataset=model_dataset,
        weights=starting_weights,
    output:
        checkpoint="results/{mode}/{model}/{train_cell}/model.pdparams",
        history=report(
            "results/{mode}/{model}/{train_cell}/history.csv",
            caption="../report/history.rst",
            category="Training",
            subcategory="{model}",
            labels={"checkpoint": "{train_cell}", "file": "loss by iteration"},
        ),
        record="results/{mode}/{model}/{train_cell}/train.json",
    log:
        "results/{mode}/{model}/{train_cell}/train.log",
    benchmark:
        "results/{mode}/{model}/{train_cell}/train.bench.tsv"
    conda:
        ENVIRONMENT
    threads: resource_of("train", "threads")
    resources:
        gpu=resource_of("train", "gpus"),
        mem_mb=resource_of("train", "memory_mb", 8000),
        runtime=resource_of("train", "runtime"),
    params:
        code=code_of("train.py"),
        script=f"{SCRIPTS}/train.py",
        python=SETTINGS["python"],
        options=of_cell("train", "options"),
        limits=limits_of("train"),
        software=of_cell("train", "software"),  # not for the command: so that another version runs anew
        configuration=configuration,  # the same: a file may come here with the time that it had elsewhere
        weights=starting_options,
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} {params.limits:q} --paddleseg "$STAGE_PADDLESEG"'
        " {params.weights:q} --config {input.config:q} --dataset {input.dataset:q} --checkpoint {output.checkpoint:q}"
        " --history {output.history:q} --record {output.record:q} --log {log:q}"


rule take_released_weights:
    input:
        archive=lambda wildcards: sources.local(SETTINGS["weights"][released_weights(wildcards)]),
    output:
        checkpoint="results/{mode}/{model}/released/model.pdparams",
        record="results/{mode}/{model}/released/train.json",
    log:
        "results/{mode}/{model}/released/train.log",
    benchmark:
        "results/{mode}/{model}/released/train.bench.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=120,
    params:
        code=code_of("fetch_weights.py"),
        script=f"{SCRIPTS}/fetch_weights.py",
        python=SETTINGS["python"],
        stamp=lambda wildcards: sources.stamp(SETTINGS["weights"][released_weights(wildcards)]),  # not for the command
        options=lambda wildcards: TABLE.find("train", wildcards.model, "released").options,
        limits=lambda wildcards, resources: TABLE.find("train", wildcards.model, "released").limits,
        source=lambda wildcards: sources.weights_options(SETTINGS, released_weights(wildcards)),
    shell:
        '"$STAGE_PYTHON" {params.script:q} --stage train {params.options:q} {params.limits:q} {params.source:q}'
        " --weights {output.checkpoint:q} --record {output.record:q} --log {log:q}"


ruleorder: take_released_weights > train
