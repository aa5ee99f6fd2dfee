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


def table_files():
    return [
        path.format(study=study.name, scale=study.scale, table=table)
        for table in study.config["tables"]
        for path in rules.make_table.output
    ]


def figure_files():
    return [
        path.format(study=study.name, scale=study.scale, figure=figure)
        for figure in study.config["figures"]
        for path in rules.plot.output
    ]


def only(paths, ending):
    return [path for path in paths if path.endswith(ending)]


def report_tables(wildcards):
    return only(table_files(), ".html")


def report_figures(wildcards):
    return only(figure_files(), ".png")


def report_evaluations(wildcards):
    """Return all that the grid names, so that the page comes last even where no table asks for a cell."""
    return shown(evaluation_files())


def report_weights(wildcards):
    return shown(weights_files())


def report_advice(wildcards):
    """Return the advice that was asked for; the page shows it, and asks for none."""
    return finished(advice_files())


def report_sets(wildcards):
    """Return the sets that the page shows, so that one more makes it again even before its evaluation."""
    return shown(distilled_files())


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
