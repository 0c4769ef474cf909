"""PaddleSeg's own scripts, of a checkout of it, on a checkpoint of this run: one job per script.

Inputs: the model's configuration, its data set, the checkpoint with its history, label maps and export.
Outputs: <cell>.json and <cell>/ (what the script was given, and label maps) in scripts/ beside the checkpoint.
"""


rule run_paddleseg:
    input:
        config=model_config,
        bases=model_config_bases,
        dataset=model_dataset,
        weights=starting_weights,
        checkpoint="results/{mode}/{model}/{train_cell}/model.pdparams",
        history="results/{mode}/{model}/{train_cell}/history.csv",
        trained="results/{mode}/{model}/{train_cell}/train.json",
        reference="results/{mode}/{model}/{train_cell}/reference",
        evaluated="results/{mode}/{model}/{train_cell}/eval.json",
        export="results/{mode}/{model}/{train_cell}/export",
        exported="results/{mode}/{model}/{train_cell}/export.json",
    output:
        made=directory("results/{mode}/{model}/{train_cell}/scripts/{cell}"),
        record="results/{mode}/{model}/{train_cell}/scripts/{cell}.json",
    log:
        "results/{mode}/{model}/{train_cell}/scripts/{cell}.log",
    benchmark:
        "results/{mode}/{model}/{train_cell}/scripts/{cell}.bench.tsv"
    conda:
        ENVIRONMENT
    threads: resource_of("scripts", "threads")
    resources:
        gpu=resource_of("scripts", "gpus"),
        mem_mb=resource_of("scripts", "memory_mb", 8000),
        runtime=resource_of("scripts", "runtime"),
    params:
        code=code_of("run_paddleseg.py", "observer"),
        script=f"{SCRIPTS}/run_paddleseg.py",
        python=SETTINGS["python"],
        options=of_cell("scripts", "options"),
        limits=limits_of("scripts"),
        software=of_cell("scripts", "software"),  # not for the command: so that another version runs anew
        configuration=configuration,  # the same: a file may come here with the time that it had elsewhere
        weights=starting_options,
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} {params.limits:q} --paddleseg "$STAGE_PADDLESEG"'
        " {params.weights:q} --upstream {input.trained:q} --upstream {input.evaluated:q} --upstream {input.exported:q}"
        " --config {input.config:q} --dataset {input.dataset:q} --checkpoint {input.checkpoint:q}"
        " --history {input.history:q} --reference {input.reference:q} --export {input.export:q}"
        " --made {output.made:q} --record {output.record:q} --log {log:q}"
