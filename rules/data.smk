"""Data sets and weights: from a URL, a path, or generated, into results/data and results/weights.

Inputs: what `datasets` and `weights` in the configuration name.
Outputs: results/data/<dataset>.tar, results/data/<dataset>/ with manifest.json, results/weights/.
"""


def dataset_options(wildcards):
    entry = SETTINGS["datasets"][wildcards.dataset]
    options = ["--cell", wildcards.dataset, "--layout", entry["layout"], *source_options(entry)]
    if entry["source"] == "synthetic":
        options += ["--images", *(entry["images"][split] for split in ("train", "val", "test"))]
        options += ["--seed", entry["seed"], *(["--size", *entry["size"]] if "size" in entry else [])]
    return [str(option) for option in options]


rule make_tarball:
    input:
        code=sources("make_tarball.py"),
        archive=lambda wildcards: local_source(SETTINGS["datasets"][wildcards.dataset]),
    output:
        tarball="results/data/{dataset}.tar",
        record="results/data/{dataset}.tar.json",
    log:
        "results/data/{dataset}.tar.log",
    benchmark:
        "results/data/{dataset}.tar.bench.tsv"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=240,
    params:
        options=dataset_options,
    shell:
        "{PYTHON:q} {SCRIPTS}/make_tarball.py {params.options:q} --timeout-min 235"
        " --tarball {output.tarball:q} --record {output.record:q} --log {log:q}"


rule unpack_dataset:
    input:
        code=sources("unpack_dataset.py"),
        tarball="results/data/{dataset}.tar",
    output:
        dataset=directory("results/data/{dataset}"),
        record="results/data/{dataset}.json",
    log:
        "results/data/{dataset}.log",
    benchmark:
        "results/data/{dataset}.bench.tsv"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=120,
    params:
        layout=lambda wildcards: SETTINGS["datasets"][wildcards.dataset]["layout"],
    shell:
        "{PYTHON:q} {SCRIPTS}/unpack_dataset.py --cell {wildcards.dataset:q} --layout {params.layout:q}"
        " --timeout-min 115 --tarball {input.tarball:q}"
        " --dataset {output.dataset:q} --record {output.record:q} --log {log:q}"


rule fetch_weights:
    input:
        code=sources("fetch_weights.py"),
        archive=lambda wildcards: local_source(SETTINGS["weights"][wildcards.weights]),
    output:
        weights="results/weights/{weights}.pdparams",
        record="results/weights/{weights}.json",
    log:
        "results/weights/{weights}.log",
    benchmark:
        "results/weights/{weights}.bench.tsv"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=120,
    params:
        options=lambda wildcards: source_options(SETTINGS["weights"][wildcards.weights]),
    shell:
        "{PYTHON:q} {SCRIPTS}/fetch_weights.py --cell {wildcards.weights:q} --weights-name {wildcards.weights:q}"
        " {params.options:q} --timeout-min 115"
        " --weights {output.weights:q} --record {output.record:q} --log {log:q}"
