"""Data sets and weights: from a URL, a path, or generated, into results/data and results/weights.

Inputs: what `datasets` and `weights` in the configuration name.
Outputs: results/data/<dataset>.tar, results/data/<dataset>/ with manifest.json, results/weights/.
"""


rule make_tarball:
    input:
        archive=lambda wildcards: sources.local(SETTINGS["datasets"][wildcards.dataset]),
    output:
        tarball="results/data/{dataset}.tar",
        record="results/data/{dataset}.tar.json",
    log:
        "results/data/{dataset}.tar.log",
    benchmark:
        "results/data/{dataset}.tar.bench.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=240,
    params:
        code=code_of("make_tarball.py"),
        script=f"{SCRIPTS}/make_tarball.py",
        python=SETTINGS["python"],
        stamp=lambda wildcards: sources.stamp(SETTINGS["datasets"][wildcards.dataset]),  # not for the command
        options=lambda wildcards: sources.dataset_options(SETTINGS, wildcards.dataset),
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} --timeout-min 235'
        " --tarball {output.tarball:q} --record {output.record:q} --log {log:q}"


rule unpack_dataset:
    input:
        tarball="results/data/{dataset}.tar",
    output:
        dataset=directory("results/data/{dataset}"),
        record="results/data/{dataset}.json",
    log:
        "results/data/{dataset}.log",
    benchmark:
        "results/data/{dataset}.bench.tsv"
    conda:
        ENVIRONMENT
    threads: 4  # every image and label is decoded once
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=120,
    params:
        code=code_of("unpack_dataset.py"),
        script=f"{SCRIPTS}/unpack_dataset.py",
        python=SETTINGS["python"],
        layout=lambda wildcards: SETTINGS["datasets"][wildcards.dataset]["layout"],
    shell:
        '"$STAGE_PYTHON" {params.script:q} --cell {wildcards.dataset:q} --layout {params.layout:q}'
        " --timeout-min 115 --threads {threads:q} --tarball {input.tarball:q}"
        " --dataset {output.dataset:q} --record {output.record:q} --log {log:q}"


rule fetch_weights:
    input:
        archive=lambda wildcards: sources.local(SETTINGS["weights"][wildcards.weights]),
    output:
        weights="results/weights/{weights}.pdparams",
        record="results/weights/{weights}.json",
    log:
        "results/weights/{weights}.log",
    benchmark:
        "results/weights/{weights}.bench.tsv"
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
        stamp=lambda wildcards: sources.stamp(SETTINGS["weights"][wildcards.weights]),  # not for the command
        options=lambda wildcards: sources.weights_options(SETTINGS, wildcards.weights),
    shell:
        '"$STAGE_PYTHON" {params.script:q} --cell {wildcards.weights:q}'
        " {params.options:q} --timeout-min 115"
        " --weights {output.weights:q} --record {output.record:q} --log {log:q}"
