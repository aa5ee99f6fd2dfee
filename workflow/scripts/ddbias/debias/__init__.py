"""From a surrogate over densities to weights and groups: what forms the real side of the matching."""
