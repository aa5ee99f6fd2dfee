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


def figure_cells(wildcards):
    """Return the cells that a figure selects by its settings."""
    settings = figure_settings(wildcards)
    if "rows" in settings:
        lines = needed_cells(settings["rows"])
        return [cell for cell in study.cells if cell.without_seed() in lines]
    return study.shown_by(settings)


def drawn_from(files, pattern):
    """Return the input function for one list of files of a figure: empty if its kind is not drawn from such files.

    Files of surrogates are those of the surrogates that the figure names, for the cells that use them.
    """

    def paths(wildcards):
        settings, cells = figure_settings(wildcards), figure_cells(wildcards)
        if files not in plugins.find("figure", settings["kind"]).facts["files"]:
            return []
        if "{surrogate}" not in pattern:
            return shown(expand_cells(pattern, cells))
        names = settings.get("surrogates") or [settings["surrogate"]]
        used = {name: study.with_surrogate(name, cells) for name in names}
        of_names = [expand_cells(pattern.replace("{surrogate}", name), some) for name, some in used.items()]
        return shown([path for some in of_names for path in some])

    return paths


# ---- what is exported: the finished sets, whatever is still missing -----------------------------------------------


def finished_cells():
    """Return the cells whose distilled sets there are."""
    paths = {cell: expand_cells(rules.distill.output.distilled, [cell])[0] for cell in study.cells}
    return [cell for cell, path in paths.items() if os.path.exists(path)]


def of_finished(pattern):
    """Return the input function for the files of a pattern that there are of these cells."""
    return lambda wildcards: finished(expand_cells(pattern, finished_cells()))


def export_folder(wildcards):
    folder = study.config["export_to"] or os.path.dirname(export_files())
    return os.path.expanduser(folder)


def export_is_lost(wildcards):
    """Tell whether an export was made whose folders are gone: they are no outputs, so nobody else would notice."""
    return os.path.exists(export_files()) and not is_exported(export_folder(wildcards))
