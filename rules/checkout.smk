"""Where this workflow's own files are: ROOT, a folder on this machine.

As a module the workflow may come from a git host (`github(...)`, as snakedeploy writes it). Snakemake
fetches such files one by one, and the scripts import each other; so the commit is unpacked whole. It goes
to one place in the working directory whatever the commit, so that the next commit makes again only
what its files make stale.
"""

import io
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

UNPACKED = Path(".snakemake/paddleseg-certify")


def unpacked(source):
    """The folder that holds the commit of a source on a git host."""
    source.fetch_if_required()
    repository = source.hosted_repo.repo
    commit = repository.commit(source.ref).hexsha
    noted = UNPACKED / ".commit"
    if not (noted.exists() and noted.read_text(encoding="utf-8") == commit):
        UNPACKED.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=UNPACKED.parent) as folder:
            packed = io.BytesIO()
            repository.archive(packed, commit)
            packed.seek(0)
            fresh = Path(folder) / "fresh"
            with tarfile.open(fileobj=packed) as archive:
                archive.extractall(fresh, filter="data")
            (fresh / ".commit").write_text(commit, encoding="utf-8")
            if UNPACKED.exists():
                UNPACKED.rename(Path(folder) / "former")
            fresh.rename(UNPACKED)
    return UNPACKED.absolute()


def source_root(rules_folder):
    """The folder above a rule file's."""
    return Path(str(rules_folder)).parent if rules_folder.is_local else unpacked(rules_folder)


if workflow.modifier.path_modifier.prefix or workflow.modifier.path_modifier.modifies_prefixes:
    raise WorkflowError(
        "module prefix/replace_prefix: this workflow's records hold paths below results/, so they cannot be "
        "moved by a prefix; start snakemake in a folder of its own instead (--directory)"
    )


def readable(file):
    """The path of a YAML file that can be read: of one that cannot, Snakemake says neither name nor line."""
    try:
        with open(file, encoding="utf-8") as stream:
            yaml.load(stream, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise WorkflowError(f"{file}: cannot be read as YAML: {error}") from None
    return file


ROOT = source_root(workflow.current_basedir)
sys.path.insert(0, str(ROOT / "scripts"))
