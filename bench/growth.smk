# Sleeping jobs of measured lengths: how the wall time of a matrix falls with the number of GPUs.
# Each model is trained, then evaluated and exported, then its inference cells run; each job takes one GPU.

import json

JOBS = json.load(open(config["jobs"]))


rule all:
    input:
        [f"infer/{model}.{n}" for model, job in JOBS.items() for n in range(len(job["infer"]))],


rule train:
    output:
        "train/{model}",
    resources:
        gpu=1,
    params:
        seconds=lambda wildcards: JOBS[wildcards.model]["train"],
    shell:
        "sleep {params.seconds} && touch {output:q}"


rule export:
    input:
        "train/{model}",
    output:
        "export/{model}",
    resources:
        gpu=1,
    params:
        seconds=lambda wildcards: JOBS[wildcards.model]["export"],
    shell:
        "sleep {params.seconds} && touch {output:q}"


rule infer:
    input:
        "export/{model}",
    output:
        "infer/{model}.{n}",
    resources:
        gpu=1,
    params:
        seconds=lambda wildcards: JOBS[wildcards.model]["infer"][int(wildcards.n)],
    shell:
        "sleep {params.seconds} && touch {output:q}"
