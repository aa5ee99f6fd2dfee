"""Names that a study uses and does not define: one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ddbias.base.errors import nearest


def selections(config: Mapping) -> list[tuple[str, Mapping]]:
    """Return (path, entry) of everything that selects cells by lists of names."""
    found = [(f"grid[{i}]", entry) for i, entry in enumerate(config["grid"])]
    for name, table in config["tables"].items():
        found += [(f"tables.{name}.cells[{i}]", entry) for i, entry in enumerate(table["cells"])]
    return found


def undefined(config: Mapping) -> Iterator[str]:
    """Yield a line for every name that is used but not defined."""

    def missing(path: str, name: str, section: str) -> Iterator[str]:
        if name not in config[section]:
            known = ", ".join(config[section]) or "none"
            yield f"{path} = '{name}': not defined under {section}; defined: {known}.{nearest(name, config[section])}"

    for section, key, target in (
        ("surrogates", "network", "networks"),
        ("distillers", "network", "networks"),
        ("distillers", "models", "models"),
        ("models", "network", "networks"),
        ("models", "domain", "datasets"),
        ("evaluations", "network", "networks"),
        ("evaluations", "surrogate", "surrogates"),
        ("debias", "surrogate", "surrogates"),
        ("tables", "against", "debias"),
        ("figures", "dataset", "datasets"),
        ("figures", "evaluation", "evaluations"),
        ("figures", "debias", "debias"),
        ("figures", "distiller", "distillers"),
        ("figures", "surrogate", "surrogates"),
        ("figures", "surrogates", "surrogates"),
    ):
        for name, settings in config[section].items():
            path, used = f"{section}.{name}.{key}", settings.get(key)
            if isinstance(used, list):
                for i, one in enumerate(used):
                    yield from missing(f"{path}[{i}]", one, target)
            elif used is not None:
                yield from missing(path, used, target)
    for name, settings in config["distillers"].items():
        for i, pool in enumerate((settings.get("guidance") or {}).get("models", [])):
            yield from missing(f"distillers.{name}.guidance.models[{i}]", pool, "models")
    for path, entry in selections(config):
        yield from missing(f"{path}.dataset", entry["dataset"], "datasets")
        for key in ("distillers", "debias", "evaluations"):
            for i, name in enumerate(entry[key]):
                yield from missing(f"{path}.{key}[{i}]", name, key)
