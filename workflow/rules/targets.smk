# What the target rules ask for.
def expand_cells(pattern, cells):
    """Fill the wildcards of an output pattern with those of each cell, every path once."""
    paths = [pattern.format(study=study.name, scale=study.scale, **vars(cell)) for cell in cells]
    return list(dict.fromkeys(paths))


def dataset_files():
    return expand_cells(rules.synthesize_dataset.output.train, study.cells)


def check_files():
    return expand_cells(rules.check_data.output.report, study.cells)


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


def report_sets(wildcards):
    """Return the sets that the page shows, so that one more makes it again even before its evaluation."""
    return shown(distilled_files())


def report_files():
    return rules.write_report.output.page.format(study=study.name, scale=study.scale)


def export_files():
    return rules.write_export.output.summary.format(study=study.name, scale=study.scale)
