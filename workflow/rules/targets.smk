# What the target rules ask for.
def expand_cells(pattern, cells):
    """Fill the wildcards of an output pattern with those of each cell, every path once."""
    paths = [pattern.format(study=study.name, scale=study.scale, **vars(cell)) for cell in cells]
    return list(dict.fromkeys(paths))


def dataset_files():
    return expand_cells(rules.synthesize_dataset.output.train, study.cells)


def check_files():
    return expand_cells(rules.check_data.output.report, study.cells)


def advice_files():
    return expand_cells(rules.advise.output.advice, study.cells)


def weights_files():
    cells = [cell for cell in study.cells if study.needs_surrogate(cell.debias)]
    return expand_cells(rules.estimate_weights.output.weights, cells)


def distilled_files():
    return expand_cells(rules.distill.output.distilled, study.cells)


def evaluation_files():
    return expand_cells(rules.evaluate.output.evaluation, study.cells)


def table_files(ending=""):
    return expand_names("tables", "table", rules.make_table.output, ending)


def figure_files(ending=""):
    return expand_names("figures", "figure", rules.plot.output, ending)


def expand_names(section, wildcard, patterns, ending):
    """Fill the wildcards of the output patterns with an ending with every name of a section."""
    fields = [{"study": study.name, "scale": study.scale, wildcard: name} for name in study.config[section]]
    return [path.format(**names) for names in fields for path in patterns if path.endswith(ending)]


def report_files():
    return rules.write_report.output.page.format(study=study.name, scale=study.scale)


def export_files():
    return rules.write_export.output.summary.format(study=study.name, scale=study.scale)


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
