"""What rules ask for: inputs, threads and options by their wildcards, from the cell table."""

import functools
import inspect


def code_of(script, *folders):
    """What a stage's script is made of, each file by its content: parameters, so that an edit makes its jobs stale.

    One parameter a file: Snakemake's reason then names the files that changed and no other.
    """
    return code.versions(f"{SCRIPTS}/{script}", *folders)


def planned_cell(stage_name, wildcards):
    """The planned cell that the wildcards name."""
    name = wildcards.get("cell")
    try:
        return TABLE.find(stage_name, wildcards.model, wildcards.train_cell, name)
    except KeyError:
        raise WorkflowError(
            f"no {stage_name} cell {name or wildcards.train_cell} of {wildcards.model} is planned in mode {MODE} "
            f"on hardware {SETTINGS['hardware']}; `snakemake --cores 1 matrix` with your --config lists what is"
        )


def signed(function):
    """The function with its signature at hand: Snakemake asks for it some 20 times a job."""
    function.__signature__ = inspect.signature(function)
    return function


def of_cell(stage_name, attribute):
    """A function of the wildcards: an attribute of the planned cell that they name."""
    stages.by_name(stage_name)  # as this is read, and not when the first job is looked up
    return signed(lambda wildcards: getattr(planned_cell(stage_name, wildcards), attribute))


@signed
def timed_threads(wildcards):
    """A cell's threads; where it is to be timed alone, all cores of this machine, or a GPU's share of them."""
    cell = planned_cell("infer", wildcards)
    if not (TABLE.section(cell.model, "infer")["exclusive"] and workflow.local_exec):
        return cell.threads
    sharing = TABLE.hardware.gpus if cell.gpus else 1
    return max(cell.threads, (workflow.resource_settings.cores or 1) // sharing)


def model_config(wildcards):
    """The model's PaddleSeg configuration: the file as it is named, or the shipped one."""
    return str(shipped(SETTINGS["model_zoo"][wildcards.model]["config"]))


def model_config_bases(wildcards):
    """The files that the model's configuration inherits from."""
    return [str(path) for path in modelconfig.config_chain(Path(model_config(wildcards)))[1:]]


@signed
def model_dataset(wildcards):
    return f"results/data/{TABLE.dataset(wildcards.model)}"


@functools.cache
def content_of(model):
    """What a model's configuration holds, with what it inherits."""
    return modelconfig.content(shipped(SETTINGS["model_zoo"][model]["config"]))


def fetched_weights(wildcards):
    """Option -> file of the weights that a training starts from, of those that the run's configuration names."""
    return {
        f"--{kind.replace('_', '-')}": f"results/weights/{name}.pdparams"
        for kind, name in TABLE.starts(wildcards.model).items()
    }


def starting_weights(wildcards):
    """All files of weights that a training starts from, with those that the model's configuration names itself."""
    own = modelkeys.files(content_of(wildcards.model), TABLE.decided(wildcards.model))
    return list(dict.fromkeys([*fetched_weights(wildcards).values(), *own]))


def starting_options(wildcards):
    """What a training is told of them; nothing where there are none."""
    words = [word for pair in fetched_weights(wildcards).items() for word in pair]
    if starting_weights(wildcards):
        share = TABLE.section(wildcards.model, "gates")["pretrained_share"]
        words += ["--min-pretrained-share", str(share)]
    left_out = modelkeys.left_out(content_of(wildcards.model), TABLE.decided(wildcards.model))
    return words + [word for key in left_out for word in ("--leave-out", key)]


def released_weights(wildcards):
    return TABLE.weights(wildcards.model, "released_weights")


def conclude_command(script, run_config, conclusions):
    """The command line that writes the conclusions, after the interpreter: that of the rule, and of a failed run."""
    return [script, "--run-config", run_config, "--json", conclusions]


def page_command(script, run_config, conclusions, page):
    """The command line that makes the page, likewise."""
    return [script, "--conclusions", conclusions, "--run-config", run_config, "--page", page]


def evidence_command(script, run_config, pack):
    """The command line that packs the evidence, likewise; without its own log, which is not finished then."""
    return [script, "--run-config", run_config, "--but", f"results/{MODE}/evidence.log", "--pack", pack]


def evidence_is_asked_for():
    """Whether this run is to end in a pack of evidence: by the configuration, or because somebody named the file."""
    return any(job.rule.name.endswith("pack_evidence") for job in workflow.dag.jobs)  # a module may prefix it


def compared_files(wildcards):
    """The files, by parameters and not by inputs: a candidate that is missing is not to be made by running."""
    if SETTINGS["baseline"] is None:
        raise WorkflowError(
            "baseline: null: name the conclusions to compare with: --config baseline=path/conclusions.json"
        )
    sides = {
        "--baseline": SETTINGS["baseline"],
        "--candidate": SETTINGS["candidate"] or f"results/{MODE}/conclusions.json",
    }
    return [
        word
        for option, files in sides.items()
        for word in (option, *([files] if isinstance(files, str) else files))
    ]
