"""From a study file to its plan: checks, sizes, costs, and what runs again. Nothing in here loads torch."""
