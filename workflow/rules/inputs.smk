# The input files of each stage.
def declared_files(wildcards, find):
    """Return what `find` finds of the files and folders of the user that a data set, or a distiller, is made from."""
    if hasattr(wildcards, "distiller"):
        settings = {"distiller": distiller_settings(wildcards)}
    else:
        settings = {section: study.config["datasets"][wildcards.dataset][section] for section in ("source", "bias")}
    named = []
    for section in settings:
        for option in plugins.find(section, settings[section]["kind"]).facts.get("files", []):
            value = settings[section]
            for key in option.split("."):
                value = (value or {}).get(key)
            named.append(value)
    return [found for path in named if path for found in find(path)]


def found_files(path):
    """Return the files that a path may mean; the job that reads them has more to say where there is none."""
    try:
        return [str(file) for file in lookup.find_files(path, study.config["data"], ".parquet")]
    except DdbiasError:
        return []


def found_folders(path):
    try:
        return [lookup.find_folder(path, study.config["data"])]
    except DdbiasError:
        return []


def stop_if_lost(wildcards):
    """End with one line if a path of the user is not found though what is made from it is there.

    Snakemake would remove the latter, and all that follows from it, before the job could say that the path is missing.
    """
    made = rules.distill.output.distilled if hasattr(wildcards, "distiller") else rules.synthesize_dataset.output.train
    made = made.format(**wildcards)
    compared = any(trigger.name == "PARAMS" for trigger in workflow.rerun_triggers)
    if compared and workflow.is_main_process and os.path.exists(made):
        for path in declared_files(wildcards, lambda path: [path]):
            if not (found_files(path) or found_folders(path)):
                line = (
                    f"{path} is not found (under the working directory, data.root, data.mirrors or DDBIAS_DATA), but {made} "
                    "is there and would be removed; nothing is changed. Correct the path, or bring back what it names. To go "
                    "on with what is there, whatever the study says: ARGS='--rerun-triggers mtime'"
                )
                sys.exit(f"ddbias: {terminal(line)}")


def source_digests(wildcards):
    """Return the content of the user's own files in short: if it changes, what was made of them is made again.

    They are no input of a rule, whose dates Snakemake compares: one dated in the future would end every run. Of folders,
    which may hold very many files, their names, sizes and dates count.
    """
    stop_if_lost(wildcards)
    try:
        files = [store.file_sha256(path) for path in declared_files(wildcards, found_files)]
        return files + [folders.digest(path) for path in declared_files(wildcards, found_folders)]
    except DdbiasError as error:
        sys.exit(f"ddbias: {terminal(str(error))}")
    except OSError as error:
        sys.exit(f"ddbias: {terminal(unreadable(error))}")


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
