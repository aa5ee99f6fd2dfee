# What a job takes. No result depends on it, so it is no parameter.


def gpu(wildcards):
    """Return the number of GPUs of a job that computes with networks."""
    return 0 if study.config["device"] == "cpu" else 1


def memory_mb(stage):
    """Return the function that asks for a job's memory: what it is expected to take, more with every attempt."""
    return lambda wildcards, attempt: attempt * request(study, stage, wildcards)[0]


def minutes(stage):
    """Return the function that asks for a job's time in minutes, more with every attempt.

    At most a day: partitions refuse what is over their limit, and a long job goes on from its state.
    """
    return lambda wildcards, attempt: min(attempt * request(study, stage, wildcards)[1], 24 * 60)
