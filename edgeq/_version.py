"""The version, in one place: pyproject.toml and `edgeq --version` read it."""

__version__ = "0.1.0"
