# What tables, figures, the page and exports show.
def shown(paths):
    """Return the paths that a table, figure or page waits for: all, or those that there are."""
    return paths if study.config["unfinished"] == "run" else finished(paths)


def finished(paths):
    return [path for path in paths if os.path.exists(path)]


def table_evaluations(wildcards):
    wanted = needed_cells(table_rows(wildcards))
    cells = [cell for cell in study.cells if cell.without_seed() in wanted]
    return shown(expand_cells(rules.evaluate.output.evaluation, cells))


def figure_cells(wildcards, kind, *keys):
    """Return the cells that a figure of a kind selects by some of its settings; none for other kinds."""
    settings = figure_settings(wildcards)
    return study.select(**{key: settings[key] for key in keys}) if settings["kind"] == kind else []


def cost_cells(wildcards):
    cells, ipc = figure_cells(wildcards, "cost", "dataset", "ratio", "evaluation"), figure_settings(wildcards).get(
        "ipc"
    )
    return [cell for cell in cells if ipc is None or cell.ipc == str(ipc)]


def figure_evaluations(wildcards):
    cells = figure_cells(wildcards, "accuracy", "dataset", "evaluation")
    cells = [cell for cell in cells if cell.ipc in (str(figure_settings(wildcards).get("ipc")), WHOLE)]
    points = figure_cells(wildcards, "heatmap", "dataset", "distiller", "ipc", "evaluation")
    cells += [cell for cell in points if cell.debias in figure_settings(wildcards)["debias"]]
    cells += cost_cells(wildcards)
    lines = needed_cells(figure_settings(wildcards).get("rows", []))
    cells += [cell for cell in study.cells if cell.without_seed() in lines]
    return shown(expand_cells(rules.evaluate.output.evaluation, cells))


def figure_weights(wildcards):
    cells = figure_cells(wildcards, "weights", "dataset", "debias", "seed")
    return shown(expand_cells(rules.estimate_weights.output.weights, cells))


def surrogate_files(pattern, name, cells):
    """Return the outputs of the training of a surrogate that cells use."""
    used = study.with_surrogate(name, cells)
    return shown(expand_cells(pattern.replace("{surrogate}", name), used))


def figure_histories(wildcards):
    cells = figure_cells(wildcards, "surrogate", "dataset", "seed")
    names = figure_settings(wildcards)["surrogates"] if cells else []
    return [path for name in names for path in surrogate_files(rules.train_surrogate.output.history, name, cells)]


def figure_embeddings(wildcards):
    cells = figure_cells(wildcards, "embedding", "dataset", "ratio", "seed")
    name = figure_settings(wildcards)["surrogate"] if cells else ""
    return surrogate_files(rules.train_surrogate.output.embeddings, name, cells)


def figure_datasets(wildcards):
    cells = figure_cells(wildcards, "images", "dataset", "ratio", "ipc", "seed") or figure_cells(wildcards, "datasets")
    cells += figure_cells(wildcards, "embedding", "dataset", "ratio", "seed")
    return shown(expand_cells(rules.synthesize_dataset.output.train, cells))


def figure_distilled(wildcards):
    cells = figure_cells(wildcards, "images", "dataset", "ratio", "ipc", "seed")
    cells += cost_cells(wildcards)
    return shown(expand_cells(rules.distill.output.distilled, cells))


def distilled_folders(wildcards):
    return [os.path.dirname(path) for path in distilled_files()]


# ---- what is exported: the finished sets, whatever is still missing -----------------------------------------------


def finished_cells():
    """Return the cells whose distilled sets there are."""
    paths = {cell: expand_cells(rules.distill.output.distilled, [cell])[0] for cell in study.cells}
    return [cell for cell, path in paths.items() if os.path.exists(path)]


def finished_distilled(wildcards):
    return expand_cells(rules.distill.output.distilled, finished_cells())


def finished_runs(wildcards):
    return finished(expand_cells(rules.distill.output.run, finished_cells()))


def finished_datasets(wildcards):
    return finished(expand_cells(rules.synthesize_dataset.output.train, finished_cells()))


def finished_evaluations(wildcards):
    return finished(expand_cells(rules.evaluate.output.evaluation, finished_cells()))


def planned_sets(wildcards):
    return len(distilled_files())


def export_folder(wildcards):
    folder = study.config["export_to"] or os.path.dirname(export_files())
    return os.path.expanduser(folder)


def export_is_lost(wildcards):
    """Tell whether an export was made whose folders are gone: they are no outputs, so nobody else would notice."""
    return os.path.exists(export_files()) and not is_exported(export_folder(wildcards))
