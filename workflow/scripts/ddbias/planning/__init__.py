"""From a study file to its plan: checks, sizes, costs, and code digests. Nothing in here loads torch."""
