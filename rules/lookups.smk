"""What rules ask for: inputs, threads and options by their wildcards, from the run and its cell table."""

import inspect


def code_of(script, *folders):
    """What a stage's script is made of, each file by its content: a parameter, so that an edit makes its jobs stale.

    One for all files: one for each of fifty took a fifth of the time of planning. The screen names the files that
    changed (segcert/show/screen.py).
    """
    return code.versions(f"{SCRIPTS}/{script}", *folders)


def signed(function):
    """The function with its signature at hand: Snakemake asks for it some 20 times a job."""
    function.__signature__ = inspect.signature(function)
    return function


def planned_cell(stage_name, wildcards):
    """The planned cell that the wildcards name."""
    try:
        return RUN.cell(stage_name, wildcards.model, wildcards.train_cell, wildcards.get("cell"))
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def of_cell(stage_name, attribute):
    """A function of the wildcards: an attribute of the planned cell that they name."""
    stages.by_name(stage_name)  # as this is read, and not when the first job is looked up
    return signed(lambda wildcards: getattr(planned_cell(stage_name, wildcards), attribute))


def resource_of(stage_name, attribute, guess=0):
    """What a stage's jobs take: the number where all planned cells have the same, else a function of the wildcards.

    A number costs nothing; a function is looked into for each job, by Snakemake several times.

    Args:
        guess: where a cell has none.
    """
    cells_of = [cell for cell in PLANNED if cell.stage == stages.by_name(stage_name).name]
    numbers = {getattr(cell, attribute) or guess for cell in cells_of}
    if len(numbers) == 1:
        return numbers.pop()
    return signed(lambda wildcards: getattr(planned_cell(stage_name, wildcards), attribute) or guess)


def limits_of(stage_name):
    """A function of the wildcards: the options that bound the cell that they name.

    It asks for `resources`, because Snakemake keeps in mind, and compares, what does not follow from those: so other
    bounds make nothing anew.
    """
    return signed(lambda wildcards, resources: planned_cell(stage_name, wildcards).limits)


@signed
def timed_threads(wildcards):
    cores = workflow.resource_settings.cores or 1 if workflow.local_exec else None
    return RUN.timed_threads(planned_cell("infer", wildcards), cores)


def if_quantised(path):
    """A function of the wildcards: the path where their cell is made from the quantised model, else nothing."""

    def made_from(wildcards):
        parents = planned_cell("infer", wildcards).parents
        return path.format(**wildcards) if stages.QUANTISE.name in parents else []

    return signed(made_from)


@signed
def quantised_options(wildcards, input):
    """What an inference is told of the quantised model; nothing where it runs the export's."""
    return ["--quantised", input.quantised, "--upstream", input.calibrated] if input.quantised else []


def model_config(wildcards):
    return str(RUN.model_config(wildcards.model))


def model_config_bases(wildcards):
    """The files that the model's configuration inherits from."""
    return RUN.model_config_bases(wildcards.model)


def configuration(wildcards):
    """What the files of the model's configuration hold."""
    return list(RUN.configurations[wildcards.model].values())


@signed
def model_dataset(wildcards):
    return f"results/data/{TABLE.dataset(wildcards.model)}"


def starting_weights(wildcards):
    """All files of weights that a training starts from."""
    return RUN.starting_weights(wildcards.model)


def starting_options(wildcards):
    """What a training is told of them; nothing where there are none."""
    return RUN.starting_options(wildcards.model)


def released_weights(wildcards):
    return TABLE.weights(wildcards.model, "released_weights")


def compared_files(wildcards):
    """The files, by parameters and not by inputs: a candidate that is missing is not to be made by running."""
    try:
        return RUN.compared()
    except ConfigError as error:
        raise WorkflowError(str(error)) from None


def series_options(asked):
    """A function of the wildcards: what a rule that starts runs of its own is told. They run here, one after another."""

    def options(wildcards):
        if not workflow.local_exec:
            raise WorkflowError(
                "upgrade, bisect: their runs are on this machine: start them without an executor"
            )
        try:
            return asked()
        except ConfigError as error:
            raise WorkflowError(str(error)) from None

    return signed(options)


def reproduced_cell(wildcards):
    """The record, by a parameter and not by an input: the cell that failed is not to be run for it."""
    try:
        return RUN.reproduced()
    except ConfigError as error:
        raise WorkflowError(str(error)) from None
