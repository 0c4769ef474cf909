"""A run as it is planned: its settings, the machine, the cell table, and what the rules ask of them.

Only the rules import this, while Snakemake parses them, and no script: an edit here makes no result stale. What it
needs to know of Snakemake comes as a `Start`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segcert import code, files, gpus, machine, modelconfig, modelkeys, own_scripts, processes, record, settings, sides
from segcert.cells import Cell, CellTable
from segcert.checkout import beside, tree
from segcert.checkout.tree import Tree
from segcert.data import classes, sources
from segcert.errors import ConfigError
from segcert.machine import Hardware
from segcert.masking import masked_tree
from segcert.requests import export
from segcert.sections import released
from segcert.stage import at_hand, supervisor, surroundings


@dataclass(frozen=True)
class Start:
    """What Snakemake alone knows of the process that parses the rules. Not yet which executor runs the jobs.

    Attributes:
        main: it is the process that the user started, not that of one of its jobs.
        in_conda: the stages run in an environment that Snakemake makes for them.
        gpus: those that the jobs may use at a time (`--resources gpu=N`); None: nobody said.
        jobs: those that a scheduler may have at a time (`--jobs N`), which a cluster needs; None: nobody said.
    """

    main: bool = True
    in_conda: bool = False
    gpus: int | None = None
    jobs: int | None = None


@dataclass(frozen=True)
class Run:
    """What is planned, and how its jobs are started.

    Attributes:
        root: the folder of the workflow's own files.
        settings: as `segcert.settings.resolve` returns them.
        python: the interpreter of the stages.
        hardware: what the machines of the jobs have.
        cleared: variables around us that would misguide a stage, and that each stage takes away for itself.
    """

    root: Path
    start: Start
    settings: Mapping[str, Any]
    python: str
    hardware: Hardware
    cleared: tuple[str, ...] = ()
    paddleseg: Tree | None = None

    @classmethod
    def plan(
        cls, config: Mapping[str, Any], overrides: Mapping[str, Any], source: str, root: Path, start: Start
    ) -> Run:
        """The run that a configuration asks for, every mistake in it found.

        The process that the user started asks the driver for its GPUs, and leaves the answer in the environment.

        Args:
            config: the configuration, whole or what differs from the shipped one.
            overrides: what of it the user gave in files of their own and on the command line.
            source: the shipped configuration, from `root`; also its name in messages.

        Raises:
            ConfigError, ValueError: what is wrong, in words that name file, key and value.
        """
        resolved = settings.resolve(*settings.completed(config, overrides, root / source), source)
        python = _interpreter(resolved["python"], start)
        cleared: list[str] = []
        if start.main:
            cleared = surroundings.misguiding()
            os.environ.pop("PYTHONSAFEPATH", None)  # with it no script finds its package
            gpus.hand_on(wanted=resolved["hardware"] != "cpu")  # once a run; its jobs have the answer from here
        hardware = machine.hardware(
            resolved["hardware"],
            None if start.in_conda else python,
            start.main,
            at_most=start.gpus if start.main else None,
        )
        paddleseg = _paddleseg(resolved, python, start)
        run = cls(root, start, resolved, python, hardware, tuple(cleared), paddleseg)
        parts = [part for file in run.models.values() for part in modelconfig.config_chain(file)]
        code.require_past([*root.glob("scripts/**/*.py"), *parts])
        if start.main:
            run.notes  # noqa: B018  (what is wrong with a model's configuration is told now)
        return run

    @cached_property
    def table(self) -> CellTable:
        return CellTable(self.settings, self.hardware, self.paddleseg_hashes, self.own_scripts, self.configurations)

    @cached_property
    def own_scripts(self) -> dict[str, str]:
        """PaddleSeg's own scripts that the one at hand has, as `checkout.beside.there` returns them."""
        return beside.there(self.paddleseg.folder) if self.paddleseg else {}

    @cached_property
    def paddleseg_hashes(self) -> dict[str, str]:
        """Model -> a hash of the files of PaddleSeg that its results follow from; nothing where it is not there yet.

        Raises:
            ConfigError: PaddleSeg cannot be read.
        """
        if self.paddleseg is None:
            return {}
        return {model: self.paddleseg.hash_of(modelconfig.content(file)) for model, file in self._configs.items()}

    @cached_property
    def configurations(self) -> dict[str, dict[str, str]]:
        """Model -> {file of its configuration: sha256}, with those that it inherits from.

        A file's time does not tell an edit of it: it may have been edited elsewhere, and brought here with its time.
        """
        return {model: files.hashes(modelconfig.config_chain(file)) for model, file in self._configs.items()}

    @property
    def _configs(self) -> dict[str, Path]:
        """Model -> file of its configuration, of those that are there: a params file may have named none."""
        found = {model: self.model_config(model) for model in self.settings["models"] if self._is_planned(model)}
        return {model: file for model, file in found.items() if file.is_file()}

    def _is_planned(self, model: str) -> bool:
        return "not_planned" not in self.settings["model_zoo"][model]

    @cached_property
    def planned(self) -> list[Cell]:
        """The cells that are to run."""
        return self.table.planned()

    @cached_property
    def models(self) -> dict[str, Path]:
        """The models of which something runs, with the files of their configurations.

        Of the others nobody reads it: a params file may have named none.
        """
        return {model: self.model_config(model) for model in dict.fromkeys(cell.model for cell in self.planned)}

    @cached_property
    def notes(self) -> list[str]:
        """What a person should know of the models' configurations; ConfigError where one cannot be done here."""
        return modelkeys.require((name, file, self.table.decided(name)) for name, file in self.models.items())

    @property
    def mode(self) -> str:
        return self.table.mode

    @property
    def folder(self) -> str:
        return f"results/{self.mode}"

    # -- how jobs are started -----------------------------------------------------------------

    @property
    def scripts(self) -> str:
        """The folder of the stages' scripts, from the working directory."""
        return os.path.relpath(self.root / "scripts")

    @property
    def environment(self) -> str:
        """The pins of the stages' environment for conda, from the folder of the rules."""
        return os.path.relpath(
            self.root / "envs" / ("gpu.yaml" if self.hardware.gpus else "cpu.yaml"), self.root / "rules"
        )

    @property
    def variables(self) -> dict[str, str]:
        """The environment of the jobs.

        The interpreters are there and not in params: a moved one is no reason to train again, another `python:` in the
        configuration is.
        """
        return {
            "STAGE_PYTHON": self.python,
            "STAGE_PADDLESEG": self.stage_paddleseg,
            tree.HANDED_ON: json.dumps(self._handed_on),
            "WORKFLOW_PYTHON": sys.executable,
            supervisor.WORKFLOW: json.dumps(processes.identity()),  # when this process is killed, its stages end
            "SEGCERT_PROGRESS": "0",  # jobs share the terminal, where Snakemake shows the progress
            **sources.environment(self.settings),
            **export.environment({name: self.table.batch_sizes(name) for name in self.models}),
            **classes.environment((self.table.dataset(name), name, str(file)) for name, file in self.models.items()),
        }

    @property
    def paddleseg_notes(self) -> Iterator[str]:
        """Of checkouts that somebody may take for what is run, and that are not; and of what nobody can know yet."""
        if self.paddleseg is None and self.start.in_conda:
            yield (
                "paddleseg: installed: which one that is, records say once Snakemake has made the environment; an edit "
                "in there makes nothing stale"
            )
        used = self.paddleseg and self.paddleseg.folder
        lying = {tree.above(Path.cwd() / "x"): "the folder of this run"}
        for place in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
            lying |= {Path(place).resolve(): "PYTHONPATH"} if tree.is_package(Path(place)) else {}
        lying |= {tree.above(file): f"the configuration of {model}" for model, file in self.models.items()}
        if (root := self.settings["paddleseg_root"]) and used:
            lying |= {tree.package_in(root): "paddleseg_root"}
            if not tree.package_in(root):
                yield f"paddleseg_root: there is no PaddleSeg in {root}; the stages import {used}"
        for folder, what in lying.items():
            if folder and used and folder != used:
                yield f"{what} lies in the PaddleSeg {folder}, which is not used but for it: the stages import {used}"

    @property
    def own_scripts_note(self) -> str | None:
        """That PaddleSeg's own scripts are asked for, and are not there."""
        wanted = any(own_scripts.wanted(self.settings, model) for model in self.models)
        return (
            None if self.own_scripts or not wanted else "paddleseg_scripts: none, the PaddleSeg at hand has no tools/"
        )

    @property
    def stage_paddleseg(self) -> str:
        """The PaddleSeg that the stages are told to import: installed, or a folder."""
        if self.paddleseg is None or self.paddleseg.installed:
            return tree.INSTALLED
        path = os.path.relpath(self.paddleseg.folder)
        return path if path.startswith("..") else os.path.join(".", path)  # noqa: PTH118  (no option, and not the word)

    @property
    def _handed_on(self) -> dict[str, Any]:
        """What the plan knows of PaddleSeg, for stages that find it as it is."""
        if self.paddleseg is None:
            return {}
        configs = {model: str(file) for model, file in self._configs.items()}
        return {at_hand.TREE: self.paddleseg.digest, "hashes": self.paddleseg_hashes, "configs": configs}

    @property
    def gpu_limit(self) -> int | None:
        """GPUs that jobs may use at a time, where nobody said: as many as the plan and the leases count.

        None where that is said, where it is for a cluster's scheduler to say, and where there are none.
        """
        said = self.start.gpus is not None or self.start.jobs is not None
        counted = self.start.main and not said and self.hardware.setting == "auto"
        return self.hardware.gpus if counted and self.hardware.gpus else None

    @cached_property
    def config(self) -> dict[str, Any]:
        """What run_config.yaml holds."""
        return {
            "settings": masked_tree(self.settings),
            "hardware": vars(self.hardware),
            "paddleseg": self._paddleseg,
            "configurations": self.configurations,
            "versions": {name: machine.package_version(name) for name in machine.WORKFLOW},
        }

    @property
    def _paddleseg(self) -> dict[str, Any]:
        """The PaddleSeg of the run: what records say of it, its files, and the hashes of models."""
        if self.paddleseg is None:
            return {}
        told = {"files": self.paddleseg.files, "hashes": self.paddleseg_hashes, "scripts": self.own_scripts}
        return {**self.paddleseg.env, **told}

    @property
    def digest(self) -> str:
        """One hash of all that run_config.yaml holds."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    def failures(self) -> dict[str, tuple[int, int]]:
        """The records of failures that there are, with their stamps: before a run, to tell later what failed in it."""
        return files.stamps(
            file
            for cell in self.planned
            for file in (cell.failure, *map(record.failure, self.table.source_records(cell)))
        )

    # -- what rules ask by their wildcards ----------------------------------------------------

    def cell(self, stage: str, model: str, train_cell: str, name: str | None = None) -> Cell:
        """The planned cell at that place.

        Raises:
            ConfigError: there is none.
        """
        try:
            return self.table.find(stage, model, train_cell, name)
        except KeyError:
            raise ConfigError(
                f"no {stage} cell {name or train_cell} of {model} is planned in mode {self.mode} on hardware "
                f"{self.settings['hardware']}; `snakemake --cores 1 matrix` with your --config lists what is"
            ) from None

    def timed_threads(self, cell: Cell, cores: int | None) -> int:
        """An inference cell's threads; where it is to be timed alone, all cores of this machine, or a GPU's share.

        Args:
            cores: those that the jobs may use at a time here (`--cores N`); None: they run elsewhere.
        """
        if cores is None or not self.table.section(cell.model, "infer")["exclusive"]:
            return cell.threads
        return max(cell.threads, cores // (self.hardware.gpus if cell.gpus else 1))

    def file(self, path: str) -> Path:
        """A file as it is named, or the one of that name that is shipped."""
        return Path(path) if Path(path).exists() else Path(os.path.relpath(self.root / path))

    def model_config(self, model: str) -> Path:
        """The model's PaddleSeg configuration; that of its released weights, where these are of another network."""
        own: str = self.settings["model_zoo"][model]["config"]
        return self.file(released(self.settings, model).get("config") or own)

    def model_config_bases(self, model: str) -> list[str]:
        """The files that the model's configuration inherits from."""
        return [str(path) for path in modelconfig.config_chain(self.model_config(model))[1:]]

    @cached_property
    def _contents(self) -> dict[str, dict[str, Any]]:
        """What the models' configurations hold, with what they inherit."""
        return {model: modelconfig.content(file) for model, file in self.models.items()}

    def _fetched_weights(self, model: str) -> dict[str, str]:
        """Option -> file of the weights that a training starts from, of those that the run's configuration names."""
        return {
            f"--{kind.replace('_', '-')}": f"results/weights/{name}.pdparams"
            for kind, name in self.table.starts(model).items()
        }

    def starting_weights(self, model: str) -> list[str]:
        """All files of weights that a training starts from, with those that the model's configuration names itself."""
        own = modelkeys.files(self._contents[model], self.table.decided(model))
        return list(dict.fromkeys([*self._fetched_weights(model).values(), *own]))

    def starting_options(self, model: str) -> list[str]:
        """What a training is told of them; nothing where there are none."""
        options = [word for pair in self._fetched_weights(model).items() for word in pair]
        if self.starting_weights(model):
            share = self.table.section(model, "gates")["pretrained_share"]
            options += ["--min-pretrained-share", str(share)]
        left_out = modelkeys.left_out(self._contents[model], self.table.decided(model))
        return options + [word for key in left_out for word in ("--leave-out", key)]

    def compared(self) -> list[str]:
        """The options that name what a comparison is of.

        Raises:
            ConfigError: the configuration names no baseline.
        """
        if self.settings["baseline"] is None:
            raise ConfigError(
                "baseline: null: name the conclusions to compare with: --config baseline=path/conclusions.json"
            )
        sides = {
            "--baseline": self.settings["baseline"],
            "--candidate": self.settings["candidate"] or f"{self.folder}/conclusions.json",
        }
        return [
            word
            for option, named in sides.items()
            for word in (option, *([named] if isinstance(named, str) else named))
        ]

    @property
    def history(self) -> str:
        """The folder in which runs are kept; a configuration of before has none."""
        folder: str = self.settings.get("history", {}).get("folder", "history")
        return folder

    def reproduced(self) -> str:
        """The record of the cell that is to be reproduced.

        Raises:
            ConfigError: the configuration names none.
        """
        cell: str | None = self.settings["cell"]
        if cell is None:
            raise ConfigError("cell: null: name the record of a cell that failed: --config cell=results/.../x.json")
        return cell

    # -- several runs that one starts ---------------------------------------------------------

    @property
    def series_plan(self) -> str:
        """The file by which a run hands itself on to those that it starts."""
        return f"{self.folder}/.series.json"

    @property
    def series_settings(self) -> dict[str, Any]:
        """What of the settings says what these do, and how they are compared."""
        keys = ("mode", "compare", "sides", "upgrade", "bisect", "good", "bad", "what")
        return {**{key: self.settings[key] for key in keys}, "cell": self._searched}

    def upgraded(self) -> list[str]:
        """The options of a run of several sides.

        Raises:
            ConfigError: the configuration names none, or not well.
        """
        asked = sides.parse(self.settings["sides"], "sides")
        if len(asked) < 2:
            raise ConfigError(
                f"sides: {json.dumps(self.settings['sides'])} is refused; allowed: two sides at least, today's first: "
                "--config 'sides=[3.2.2, 3.3.1]'"
            )
        self._require_own_environments("upgrade")
        name = self.settings["upgrade"]["name"] or _short("-".join([self.mode, *(side.name for side in asked)]))
        return ["--plan", self.series_plan, "--folder", f"results/upgrade/{name}"]

    def bisected(self) -> list[str]:
        """The options of a search.

        Raises:
            ConfigError: the configuration does not name what is searched, or where.
        """
        asked = {key: self.settings[key] for key in ("cell", "good", "bad")}
        among = self.settings["bisect"]["among"]
        for key, value in asked.items():
            if value is None and (key == "cell" or not among):
                raise ConfigError(
                    f"{key}: null: a search needs --config cell=results/.../x.json good=3.2.2 bad=3.3.1, or in place "
                    "of these two bisect: {among: [...]}"
                )
        records = {path for cell in self.planned for path in (cell.record, *self.table.source_records(cell))}
        if self._searched not in records:
            raise ConfigError(
                f"cell: {json.dumps(asked['cell'])} is refused; allowed: the record of a cell that is planned in mode "
                f"{self.mode} on hardware {self.settings['hardware']}; `snakemake --cores 1 matrix` with your --config "
                "lists them"
            )
        self._require_own_environments("bisect")
        ends = [sides.as_name(asked[key] or key) for key in ("good", "bad")]
        of = hashlib.sha256(json.dumps([self._searched, among]).encode()).hexdigest()[:6]
        name = self.settings["bisect"]["name"] or _short("-".join([self.settings["what"], *ends, of]))
        return ["--plan", self.series_plan, "--folder", f"results/bisect/{name}"]

    @property
    def _searched(self) -> str | None:
        """The cell of a search by its record; that of its failure stands for it."""
        cell: str | None = self.settings["cell"]
        return cell and re.sub(r"\.failed\.json$", ".json", cell)

    def _require_own_environments(self, rule: str) -> None:
        if self.start.in_conda:
            raise ConfigError(f"{rule}: does not go with --sdm conda: each side has an environment of its own")


def _short(name: str) -> str:
    """A name of a folder; of a long one the beginning, and what tells it from others."""
    return name if len(name) <= 80 else f"{name[:70]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _paddleseg(resolved: Mapping[str, Any], python: str, start: Start) -> Tree | None:
    """The PaddleSeg of the stages; None where their environment is not there yet, or has none."""
    files = [Path(file) for file in resolved.get("params", {}).get("files", [])]
    found = tree.chosen(resolved["paddleseg"], resolved["paddleseg_root"], files, None if start.in_conda else python)
    if found and start.main and not start.in_conda:
        tree.require_importable(found, python)
    return found


def _interpreter(wanted: str, start: Start) -> str:
    """The interpreter of the stages: with conda that of the activated environment."""
    python = ("python" if start.in_conda else sys.executable) if wanted == "auto" else wanted
    if not start.in_conda and not shutil.which(python):
        raise ConfigError(
            f"python: {json.dumps(python)} is refused; allowed: auto, or a Python interpreter of this machine: a name "
            "found on PATH, or the path of an executable file"
        )
    return python
