# Certifies PaddleSeg models end to end; see README.md.
#
#   snakemake --cores 8 --resources gpu=4                     the mode that config/config.yaml names
#   snakemake --cores 2 --config mode=smoke                   the whole matrix, small, offline
#   snakemake --cores 2 results/smoke/conclusions.json ...    any file that a rule makes
#   snakemake --cores 1 matrix                                what would be run, and what not, and why
#   snakemake --cores 2 certificate --config mode=smoke       the run's certificate as one file that travels
#   snakemake compare --config baseline=old/conclusions.json  this mode's conclusions against others
#   snakemake --cores 1 keep, history                        a run's conclusions kept in history/, and all that are kept
#   snakemake --cores 1 repro --config cell=results/.../x.json   a folder that stands alone for a cell that failed
#   snakemake --cores 2 upgrade --config 'sides=[3.2.2, 3.3.1]' mode=smoke     versions side by side: upgrade or not
#   snakemake --cores 2 bisect --config cell=results/.../x.json good=3.2.2 bad=3.3.1   where a cell got worse
#
# Files of a run:
#   results/data/<dataset>.tar, <dataset>/, <dataset>.json
#   results/<mode>/<model>/<train cell>/{model.pdparams,train.json,eval.json,export/,export.json}
#   results/<mode>/<model>/<train cell>/{quantised/,quantised.json}    where a cell computes in int8
#   results/<mode>/<model>/<train cell>/infer/<cell>.{log,json} and <cell>/
#   results/<mode>/{conclusions.*,junit.xml,results_python.log,run_config.yaml}
#   results/<mode>/compare.{md,json}
#   history/*.json, results/history/{index.html,history.json,badge.json}   by name alone
#   results/<mode>/repro/<as the record of a cell>/ and .zip  by name alone
#   results/upgrade/<name>/{upgrade.md,json,html} and <side>/<repeat>/         by name alone
#   results/bisect/<name>/{bisect.md,json} and <candidate>/<repeat>/           by name alone
#   results/<mode>/certificate.zip                            conclusions, records and logs, for verify.py; by name alone
#   results/<mode>/evidence.zip                               all of a run in writing; where `evidence: true`, or by name

import gc
import os

from snakemake.utils import min_version

min_version("9.27")

# A plan is a million objects that all stay. Looking through them for garbage at each 700 that are new takes a sixth
# of the time that 10,000 cells are planned in.
gc.set_threshold(1_000_000, 20, 100)

# The shipped configuration has every key; one in your working directory may have all, or what differs.
CONFIG = "config/config.yaml"


include: "rules/checkout.smk"


configfile: readable(CONFIG if os.path.exists(CONFIG) else str(ROOT / CONFIG))


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/screen.smk"
include: "rules/lookups.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/export.smk"
include: "rules/quantise.smk"
include: "rules/infer.smk"
include: "rules/scripts.smk"
include: "rules/conclusions.smk"
include: "rules/evidence.smk"
include: "rules/certificate.smk"
include: "rules/matrix.smk"
include: "rules/ending.smk"
include: "rules/compare.smk"
include: "rules/history.smk"
include: "rules/repro.smk"
include: "rules/upgrade.smk"
include: "rules/bisect.smk"


rule all:
    default_target: True
    input:
        expand([*rules.conclude.output, *rules.page.output], mode=MODE),
        expand(rules.pack_evidence.output if SETTINGS["evidence"] else [], mode=MODE),
        # every output by name: Snakemake makes a missing file again only where a target asks for it
        [path for cell in PLANNED for path in cell.outputs],
        dict.fromkeys(path for cell in PLANNED for path in TABLE.source_records(cell)),
    localrule: True


onstart:
    draft_run_config()
    tell_what_is_tried_again()


onsuccess:
    show_conclusions()


onerror:
    conclude_after_failure()
