"""The conclusions of a run, from the records of its cells.

Inputs: the record of every planned cell.
Outputs: results/<mode>/conclusions.{md,csv,json}, conclusions.zh.md, results_python.log, run_config.yaml.
"""

import json

import yaml

RUN_CONFIG = {
    "settings": SETTINGS,
    "hardware": vars(TABLE.hardware),
    "versions": {name: machine.package_version(name) for name in machine.PINNED},
}


rule write_run_config:
    localrule: True
    output:
        "results/{mode}/run_config.yaml",
    log:
        "results/{mode}/run_config.log",
    benchmark:
        "results/{mode}/run_config.bench.tsv"
    threads: 1
    resources:
        gpu=0,
        mem_mb=200,
        runtime=5,
    params:
        run=json.dumps(RUN_CONFIG, sort_keys=True),
    run:
        record.write_text(output[0], yaml.safe_dump(json.loads(params.run), allow_unicode=True))


rule conclude:
    localrule: True
    input:
        code=sources("conclude.py"),
        templates=sorted(f"{SCRIPTS}/segcert/templates/{name}" for name in os.listdir(f"{SCRIPTS}/segcert/templates")),
        run_config="results/{mode}/run_config.yaml",
        records=[cell.record for cell in PLANNED],
    output:
        multiext("results/{mode}/conclusions", ".json", ".md", ".zh.md", ".csv"),
        "results/{mode}/results_python.log",
    log:
        "results/{mode}/conclusions.log",
    benchmark:
        "results/{mode}/conclusions.bench.tsv"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        folder=f"results/{MODE}",
    shell:
        "{sys.executable:q} {SCRIPTS}/conclude.py --run-config {input.run_config:q}"
        " --folder {params.folder:q} 2> {log:q}"


def conclude_after_failure():
    """Write the conclusions although jobs failed, and show what is red."""
    run_config = f"results/{MODE}/run_config.yaml"
    record.write_text(run_config, yaml.safe_dump(RUN_CONFIG, allow_unicode=True))
    command = [sys.executable, f"{SCRIPTS}/conclude.py", "--run-config", run_config, "--folder", f"results/{MODE}"]
    subprocess.run(command, check=False)


def show_conclusions():
    """Show the summary that the last conclusions printed, where this run made or kept some."""
    log = Path(f"results/{MODE}/conclusions.log")
    if log.exists():
        print(log.read_text(encoding="utf-8"), file=sys.stderr)
