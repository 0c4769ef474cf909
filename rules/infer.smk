"""The inference matrix: one job per cell.

Inputs: an exported model, what it is in int8 where that is asked for, the reference label maps, the data set.
Outputs: <cell>.log (the benchmark log), <cell>.json and <cell>/ in infer/ beside the checkpoint.
"""


rule infer:
    input:
        dataset=model_dataset,
        export="results/{mode}/{model}/{train_cell}/export",
        exported="results/{mode}/{model}/{train_cell}/export.json",
        reference="results/{mode}/{model}/{train_cell}/reference",
        evaluated="results/{mode}/{model}/{train_cell}/eval.json",
        quantised=if_quantised("results/{mode}/{model}/{train_cell}/quantised"),
        calibrated=if_quantised("results/{mode}/{model}/{train_cell}/quantised.json"),
    output:
        log=report(
            "results/{mode}/{model}/{train_cell}/infer/{cell}.log",
            caption="../report/benchmark_log.rst",
            category="Inference",
            subcategory="{model}",
            labels={"checkpoint": "{train_cell}", "cell": "{cell}"},
        ),
        predictions=directory("results/{mode}/{model}/{train_cell}/infer/{cell}"),
        record="results/{mode}/{model}/{train_cell}/infer/{cell}.json",
    log:
        "results/{mode}/{model}/{train_cell}/infer/{cell}.process.log",
    benchmark:
        "results/{mode}/{model}/{train_cell}/infer/{cell}.bench.tsv"
    conda:
        ENVIRONMENT
    threads: timed_threads
    resources:
        gpu=resource_of("infer", "gpus"),
        mem_mb=resource_of("infer", "memory_mb", 4000),
        runtime=resource_of("infer", "runtime"),
    params:
        code=code_of("infer.py"),
        script=f"{SCRIPTS}/infer.py",
        python=SETTINGS["python"],
        options=of_cell("infer", "options"),
        limits=limits_of("infer"),
        quantised=quantised_options,
        software=of_cell("infer", "software"),  # not for the command: so that another version runs anew
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} {params.limits:q} --paddleseg "$STAGE_PADDLESEG"'
        " {params.quantised:q} --upstream {input.exported:q} --upstream {input.evaluated:q} --export {input.export:q}"
        " --dataset {input.dataset:q} --reference {input.reference:q} --benchmark-log {output.log:q}"
        " --predictions {output.predictions:q} --record {output.record:q} --log {log:q}"
