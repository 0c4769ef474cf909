"""What rules ask for: inputs, threads and options by their wildcards, from the run and its cell table."""

import inspect


def code_of(script, *folders):
    """What a stage's script is made of, each file by its content: parameters, so that an edit makes its jobs stale.

    One parameter a file: Snakemake's reason then names the files that changed and no other.
    """
    return code.versions(f"{SCRIPTS}/{script}", *folders)


def signed(function):
    """The function with its signature at hand: Snakemake asks for it some 20 times a job."""
    function.__signature__ = inspect.signature(function)
    return function


def planned_cell(stage_name, wildcards):
    """The planned cell that the wildcards name."""
    name = wildcards.cell if stage_name == "infer" else None
    try:
        return RUN.cell(stage_name, wildcards.model, wildcards.train_cell, name)
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def of_cell(stage_name, attribute):
    """A function of the wildcards: an attribute of the planned cell that they name."""
    return signed(lambda wildcards: getattr(planned_cell(stage_name, wildcards), attribute))


@signed
def timed_threads(wildcards):
    cores = workflow.resource_settings.cores or 1 if workflow.local_exec else None
    return RUN.timed_threads(planned_cell("infer", wildcards), cores)


def model_config(wildcards):
    return str(RUN.model_config(wildcards.model))


def model_config_bases(wildcards):
    """The files that the model's configuration inherits from."""
    return [str(path) for path in modelconfig.config_chain(RUN.model_config(wildcards.model))[1:]]


@signed
def model_dataset(wildcards):
    return f"results/data/{TABLE.dataset(wildcards.model)}"


def backbone_weights(wildcards):
    """The backbone's pretrained weights as a list of no or one file."""
    name = TABLE.backbone(wildcards.model)
    return [f"results/weights/{name}.pdparams"] if name else []


def backbone_options(wildcards):
    return [item for path in backbone_weights(wildcards) for item in ("--backbone-weights", path)]


def released_weights(wildcards):
    return TABLE.weights(wildcards.model, "released_weights")


def compared_files(wildcards):
    """The files, by parameters and not by inputs: a candidate that is missing is not to be made by running."""
    try:
        return RUN.compared()
    except ConfigError as error:
        raise WorkflowError(str(error)) from None
