# Which code a job runs, so that an edit of it reruns the job.
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
