# Reads and checks the study; the only file with functions.
import functools
import os
import sys

sys.path += [os.path.join(workflow.basedir, "workflow", part) for part in ("scripts", "")]

import launch
from ddbias import dependencies, evaluation_kinds, lookup, store
from ddbias.cell import NATURAL, WHOLE
from ddbias.costs import estimate
from ddbias.errors import DdbiasError
from ddbias.publish.folder import is_exported
from ddbias.study import Study, needed_cells

launch.quote_executable()
given = {key: value for key, value in workflow.config_settings.config.items() if key != "export_to"}
launch.name_run(workflow.basedir, workflow.overwrite_configfiles, given)

try:
    study = Study(config)
except DdbiasError as error:
    origins = [os.path.relpath(path) for path in workflow.configfiles]
    origins += [f"--config {key}" for key in workflow.config_settings.config]
    sys.exit("\n".join(f"ddbias: {', '.join(origins)}: {line}" for line in str(error).splitlines()))

# What captions and scripts may read; everything that changes a result reaches them as a parameter.
config |= {key: study.config[key] for key in ("study", "scale", "data", "plugins")}


if {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    for line in estimate(study):
        print(f"ddbias: {line}", file=sys.stderr)


onstart:
    launch.hold_lock()


wildcard_constraints:
    study=study.name,
    scale=study.scale,
    dataset="|".join(study.config["datasets"]),
    ratio=r"[0-9.]+|natural",
    distiller="|".join(study.config["distillers"]),
    debias="|".join(study.config["debias"]),
    models="|".join(study.config["models"]) or "none",
    member=r"[0-9]+",
    surrogate="|".join(study.config["surrogates"]) or "none",
    ipc=r"[0-9]+|all",
    seed=r"[0-9]+",
    evaluation="|".join(study.config["evaluations"]),
    table="|".join(study.config["tables"]) or "none",
    figure="|".join(study.config["figures"]) or "none",


# ---- inputs -------------------------------------------------------------------------------------------------------


def nothing(wildcards):
    return ()


def src(script, kinds=nothing):
    """Return an input function: a rule's script and the library files it uses, relative to the working directory.

    `kinds` tells which entries of registries a job uses. Files of a plug-in are written as the study names them.
    """

    return lambda wildcards: list(used_files(script, tuple(kinds(wildcards))))


@functools.cache
def used_files(script, kinds):
    """Return the files that jobs of some kinds use; the same for very many jobs of a large study."""
    found = dependencies.files(script, kinds)
    return [os.path.relpath(path) if dependencies.SCRIPTS in path.parents else str(path) for path in found]


used_digest = functools.cache(dependencies.digest)


def code(script, kinds=nothing):
    """Return a parameter function: the digest of the code that a job runs.

    Inputs alone are not enough: Snakemake compares their content only when their date is newer than the output's.
    """
    return lambda wildcards: used_digest(script, tuple(kinds(wildcards)))


def network_kind(name):
    return ("networks", study.config["networks"][name]["kind"])


def dataset_kinds(wildcards):
    settings = study.config["datasets"][wildcards.dataset]
    return ("sources", settings["source"]["kind"]), ("bias", settings["bias"]["kind"])


def surrogate_kinds(wildcards):
    settings = surrogate_settings(wildcards)
    return ("surrogate", settings["kind"]), network_kind(settings["network"])


def debias_kinds(wildcards):
    return (("debias", debias_settings(wildcards)["kind"]),)


def pool_kinds(wildcards):
    return network_kind(pool_settings(wildcards)["network"]), *debias_kinds(wildcards)


def distiller_kinds(wildcards):
    settings = distiller_settings(wildcards)
    network = (network_kind(settings["network"]),) if "network" in settings else ()
    pools = [study.config["models"][name]["network"] for name in study.pools(wildcards.distiller)]
    network += tuple(network_kind(name) for name in pools)
    if settings.get("guidance"):
        network += (("guidance", settings["guidance"]["kind"]),)
    return ("distill", settings["kind"]), *debias_kinds(wildcards), *network


def evaluations_of(kind):
    """Return the pattern of the evaluations of a kind: which of the rules with one output pattern makes a file."""
    return "|".join(evaluation_kinds.of_kind(study.config, kind)) or "none"


def training_kinds(wildcards):
    settings = evaluation_settings(wildcards)
    debiasing = settings["debiasing"]["kind"]
    learner = [] if debiasing == "none" else [("debiased_training", debiasing)]
    return network_kind(settings["network"]), *learner


def attribute_kinds(wildcards):
    return (network_kind(evaluation_settings(wildcards)["network"]),)


def image_kinds(wildcards):
    name = evaluation_settings(wildcards)["surrogate"]
    if name is None:
        return attribute_kinds(wildcards)
    surrogate = study.config["surrogates"][name]
    return *attribute_kinds(wildcards), ("surrogate", surrogate["kind"]), network_kind(surrogate["network"])


def figure_kinds(wildcards):
    return (("plots", figure_kind(wildcards)),)


def source_files(wildcards):
    """Return the files of a source that the user owns, wherever they lie: a change of one reruns what it made."""
    source = study.config["datasets"][wildcards.dataset]["source"]
    named = [source.get(key) for key in ("train", "test", "file")]
    named.append((source.get("attribute") or {}).get("file") if source["kind"] == "image_folder" else None)
    return [found for path in named if path and (found := found_file(path))]


def source_folders(wildcards):
    """Return the folders of images that the user owns: of a source, or of pictures of frost."""
    settings = study.config["datasets"][wildcards.dataset]
    source = settings["source"]
    named = [source["train"], source["test"]] if source["kind"] == "image_folder" else []
    named.append(settings["bias"].get("frost"))
    return [found for path in named if path and (found := found_folder(path))]


def found_file(path):
    """Return where a source file lies, or None; the job that reads it has more to say about a missing one."""
    try:
        return str(lookup.find(path, study.config["data"]))
    except DdbiasError:
        return None


def found_folder(path):
    try:
        return lookup.find_folder(path, study.config["data"])
    except DdbiasError:
        return None


def source_digests(wildcards):
    """Return the content of the user's own files in short: a file with an older date is another file, too.

    Of folders, which may hold very many, the names, sizes and dates of the files.
    """
    files = [store.file_sha256(path) for path in source_files(wildcards)]
    return files + [store.folder_sha256(path) for path in source_folders(wildcards)]


def embeddings(wildcards):
    surrogate = study.config["debias"][wildcards.debias]["surrogate"]
    return rules.train_surrogate.output.embeddings.format(surrogate=surrogate, **wildcards)


def embedding_model(wildcards):
    """Return the surrogate that embeds distilled images, if one is named."""
    name = evaluation_settings(wildcards)["surrogate"]
    return rules.train_surrogate.output.model.format(surrogate=name, **wildcards) if name else []


def sample_weights(wildcards):
    """Return the weights file of a debias that has one."""
    if not study.needs_surrogate(wildcards.debias):
        return []
    return rules.estimate_weights.output.weights.format(**wildcards)


def model_files(wildcards):
    """Return the members of every pool of models that a distiller uses."""
    found = []
    for name in study.pools(wildcards.distiller):
        members = range(study.config["models"][name]["count"])
        fields = {**wildcards, "models": name}
        found += [rules.pretrain_models.output.member.format(member=member, **fields) for member in members]
    return found


def pool_train_split(wildcards):
    """Return the training split of a pool: that of the data set, or of its domain."""
    domain = pool_settings(wildcards)["domain"] or wildcards.dataset
    return rules.synthesize_dataset.output.train.format(**{**wildcards, "dataset": domain})


def pool_weights(wildcards):
    """Return the weights that enter the training of a pool, of the pool's own seed; a domain has none."""
    if pool_settings(wildcards)["domain"] or not study.needs_surrogate(wildcards.debias):
        return []
    return rules.estimate_weights.output.weights.format(seed=pool_settings(wildcards)["seed"], **wildcards)


def train_split_of_rows(wildcards):
    """Return the training split when the distilled set holds rows of it instead of images."""
    if study.config["distillers"][wildcards.distiller]["kind"] != "whole":
        return []
    return rules.synthesize_dataset.output.train.format(**wildcards)


# ---- parameters: what changes a result, and nothing else ---------------------------------------------------------


def dataset_param(key):
    return lambda wildcards: study.config["datasets"][wildcards.dataset][key]


def ratio(wildcards):
    return None if wildcards.ratio == NATURAL else float(wildcards.ratio)


def seed(wildcards):
    return int(wildcards.seed)


def ipc(wildcards):
    return wildcards.ipc if wildcards.ipc == WHOLE else int(wildcards.ipc)


def largest_ipc(wildcards):
    """Return the most images per class that the grid asks for in a data set."""
    cells = study.select(dataset=wildcards.dataset, ratio=wildcards.ratio)
    return max((int(cell.ipc) for cell in cells if cell.ipc != WHOLE), default=1)


def surrogate_settings(wildcards):
    return study.config["surrogates"][wildcards.surrogate]


def surrogate_network(wildcards):
    return study.config["networks"][surrogate_settings(wildcards)["network"]]


def debias_settings(wildcards):
    return study.config["debias"][wildcards.debias]


def pool_settings(wildcards):
    return study.config["models"][wildcards.models]


def pool_network(wildcards):
    return study.config["networks"][pool_settings(wildcards)["network"]]


def pool_debias(wildcards):
    return None if pool_settings(wildcards)["domain"] else debias_settings(wildcards)


def member(wildcards):
    return int(wildcards.member)


def distiller_settings(wildcards):
    return study.config["distillers"][wildcards.distiller]


def distiller_network(wildcards):
    name = distiller_settings(wildcards).get("network")
    return study.config["networks"][name] if name else None


def evaluation_settings(wildcards):
    return study.config["evaluations"][wildcards.evaluation]


def attribute_settings(wildcards):
    """Return what the attribute classifier depends on: another number of draws trains no other one."""
    return {key: evaluation_settings(wildcards)[key] for key in ("steps", "batch_size", "learning_rate")}


def evaluation_network(wildcards):
    return study.config["networks"][evaluation_settings(wildcards)["network"]]


def table_settings(wildcards):
    return study.config["tables"][wildcards.table]


def table_rows(wildcards):
    return study.table_rows(wildcards.table)


def table_spread(wildcards):
    return table_settings(wildcards)["spread"]


def table_caption(wildcards):
    return table_settings(wildcards)["caption"]


def figure_settings(wildcards):
    settings = study.config["figures"][wildcards.figure]
    if settings["kind"] == "heatmap":
        return settings | {"kernels": study.kernels(settings["debias"])}
    if settings["kind"] in ("against_ratio", "against_ipc"):
        return settings | {"rows": study.figure_rows(wildcards.figure)}
    return settings


def figure_kind(wildcards):
    return figure_settings(wildcards)["kind"]


def figure_caption(wildcards):
    return figure_settings(wildcards)["caption"]


# ---- what tables and figures show --------------------------------------------------------------------------------


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


def figure_evaluations(wildcards):
    cells = figure_cells(wildcards, "accuracy", "dataset", "evaluation")
    cells = [cell for cell in cells if cell.ipc in (str(figure_settings(wildcards).get("ipc")), WHOLE)]
    points = figure_cells(wildcards, "heatmap", "dataset", "distiller", "ipc", "evaluation")
    cells += [cell for cell in points if cell.debias in figure_settings(wildcards)["debias"]]
    cells += figure_cells(wildcards, "cost", "dataset", "ratio", "evaluation")
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
    cells += figure_cells(wildcards, "cost", "dataset", "ratio", "evaluation")
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


# ---- targets ------------------------------------------------------------------------------------------------------


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
