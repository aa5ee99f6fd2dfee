# What was deleted although results that were made from it are there.
localrules:
    deleted,


def deleted_files(wildcards=None):
    """Return the files that are gone though what was made from them is there.

    Snakemake makes such a file again only when something else needs it, and then all that follows from it, too, whether
    or not it is the same as before. Made by itself, its content is compared, and what follows stays as it is.
    """
    return [path for path in dict.fromkeys(map(str, behind_finished())) if not os.path.exists(path)]


def behind_finished():
    """Yield the files that distilled sets and evaluations which are there were made from."""
    for cell in study.cells:
        wildcards = Wildcards(fromdict={"study": study.name, "scale": study.scale, **vars(cell)})
        measured = os.path.exists(rules.evaluate.output.evaluation.format(**wildcards))
        if measured:
            yield from filled(rules.distill.output, wildcards)
        if measured and cell.evaluation in metric_kinds.of_kind(study.config, "images"):
            yield from filled(rules.train_attribute_model.output, wildcards)
        if measured or os.path.exists(rules.distill.output.distilled.format(**wildcards)):
            yield from filled(rules.synthesize_dataset.output, wildcards)
            yield from model_files(wildcards)
            if study.needs_surrogate(cell.debias):
                surrogate = study.config["debias"][cell.debias]["surrogate"]
                yield from filled(rules.train_surrogate.output, {**wildcards, "surrogate": surrogate})
                yield from filled(rules.estimate_weights.output, wildcards)


def filled(outputs, wildcards):
    return [output.format(**wildcards) for output in outputs]


rule deleted:
    input:
        deleted_files,
    message:
        "What was deleted is there again"


if not workflow.subprocess_exec and (gone := deleted_files()):
    more = f" and {len(gone) - 1} more were" if len(gone) > 1 else " was"
    print(
        f"ddbias: {gone[0]}{more} deleted, but not what was made from it; `make run ARGS=deleted` (with CONFIG and SCALE "
        "as now) makes it again, and results stay as they are if it is the same as before",
        file=sys.stderr,
    )
