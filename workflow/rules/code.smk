# Which code a job runs, so that an edit of it reruns the job.


def nothing(wildcards):
    return ()


@functools.cache
def used_digest(script, kinds):
    path = workflow.source_path(f"../scripts/{script}.py")  # a copy: it may lie at a host
    return code_digest.digest(path.removesuffix(".py"), kinds)


def code(script, kinds=nothing):
    """Return a parameter function: the digest of the code that a job runs.

    `kinds` tells which kinds a job uses, as (section, kind). A parameter, not the files as inputs: an edit counts whatever
    its date is, and forty inputs more for each job would make a third of the planning of a large study.
    """
    return lambda wildcards: used_digest(script, tuple(kinds(wildcards)))


TRIAL_KINDS = (("network", "convnet"),)  # `ddbias.debias.trial`


def network_kind(name):
    return ("network", study.config["networks"][name]["kind"])


def dataset_kinds(wildcards):
    settings = dataset_settings(wildcards)
    return ("source", settings["source"]["kind"]), ("bias", settings["bias"]["kind"])


def surrogate_kinds(wildcards):
    settings = surrogate_settings(wildcards)
    return ("surrogate", settings["kind"]), network_kind(settings["network"])


def debias_kinds(wildcards):
    return (("debias", debias_settings(wildcards)["kind"]),)


def tried_kinds(wildcards):
    """Return the kinds of a debias that may be tried out, and of the networks that try it."""
    return *debias_kinds(wildcards), *TRIAL_KINDS


def advice_kinds(wildcards):
    return ("surrogate", "cross_fitted"), *TRIAL_KINDS


def pool_kinds(wildcards):
    return network_kind(pool_settings(wildcards)["network"]), *debias_kinds(wildcards)


def distiller_kinds(wildcards):
    settings = distiller_settings(wildcards)
    network = (network_kind(settings["network"]),) if settings.get("network") else ()
    pools = [study.config["models"][name]["network"] for name in study.pools(wildcards.distiller)]
    network += tuple(network_kind(name) for name in pools)
    if settings.get("guidance"):
        network += (("guidance", settings["guidance"]["kind"]),)
    return ("distiller", settings["kind"]), *debias_kinds(wildcards), *network


def evaluations_of(kind):
    """Return the pattern of the evaluations of a kind: which of the rules with one output pattern makes a file."""
    return "|".join(metric_kinds.of_kind(study.config, kind)) or "none"


def training_kinds(wildcards):
    settings = evaluation_settings(wildcards)
    debiasing = settings["debiasing"]["kind"]
    learner = [] if debiasing == "none" else [("debiasing", debiasing)]
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
    return (("figure", figure_settings(wildcards)["kind"]),)
