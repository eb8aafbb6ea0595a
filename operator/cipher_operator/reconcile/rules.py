"""What the operator's settings say about every run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """Durations in seconds; `instance` is whose storages these are, in the markers."""

    instance: str
    interval: float = 300.0
    login_test_interval: float = 21_600.0
    progress_deadline: float = 600.0
    reconcile_timeout: float = 60.0
    allowed_extensions: tuple[str, ...] = ("vector",)
