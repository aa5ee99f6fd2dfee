# ddbias: how dataset distillation amplifies the bias of an image data set, and how to undo it.
# `make run` runs this with the settings of workflow/profiles/workstation; see README.md.
from snakemake.utils import min_version

min_version("9.27")


include: "workflow/rules/working_folder.smk"


# A study file is complete: the default one is read only when no other is given, since two would be merged.
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/code.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/params.smk"
include: "workflow/rules/resources.smk"
include: "workflow/rules/shown.smk"
include: "workflow/rules/targets.smk"
include: "workflow/rules/synthesize_dataset.smk"
include: "workflow/rules/advise.smk"
include: "workflow/rules/check_data.smk"
include: "workflow/rules/train_surrogate.smk"
include: "workflow/rules/estimate_weights.smk"
include: "workflow/rules/pretrain_models.smk"
include: "workflow/rules/distill.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/train_attribute_model.smk"
include: "workflow/rules/measure_images.smk"
include: "workflow/rules/make_table.smk"
include: "workflow/rules/plot.smk"
include: "workflow/rules/write_report.smk"
include: "workflow/rules/write_export.smk"
include: "workflow/rules/deleted.smk"


report: "workflow/report/workflow.rst"


localrules:
    all,
    datasets,
    weights,
    distilled_sets,
    evaluations,
    tables,
    figures,
    report,


rule all:
    default_target: True
    input:
        table_files(),
        figure_files(),
        report_files(),
        shown(evaluation_files()),  # one that was deleted is made again, though the tables are there
    message:
        "The study is complete"


rule datasets:
    input:
        dataset_files(),
    message:
        "All data sets of the study"


rule weights:
    input:
        weights_files(),
    message:
        "All sample weights of the study"


rule distilled_sets:
    input:
        distilled_files(),
    message:
        "All distilled sets of the study"


rule evaluations:
    input:
        evaluation_files(),
    message:
        "All evaluations of the study"


rule tables:
    input:
        table_files(),
    message:
        "All tables of the study"


rule figures:
    input:
        figure_files(),
    message:
        "All figures of the study"


rule report:
    input:
        report_files(),
    message:
        "The page of the study"
