"""What one run works with, and what it reports."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from cipher_operator.api.failures import ConditionType
from cipher_operator.kube.client import KubeClient
from cipher_operator.queue.inputs import Inputs
from cipher_operator.queue.servers import Servers


@dataclass(slots=True)
class Progress:
    """What a run has reached; read after a Failure too."""

    reached: list[ConditionType] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    plan: tuple[str, ...] | None = None
    rotated: bool = False
    brought: bool = False
    """The password that the user brings is another one than the published one."""
    lost_secret: bool = False
    """A login was published before, and its Secret is gone or unusable."""
    unpublished: bool = False
    """The app Secret was read, and there is none or no login in it."""
    extend: Callable[[float], None] = field(default=lambda seconds: None)
    """Gives the run so many seconds from now."""
    handled: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    """Why requests are not carried out, of those that never can be."""
    next_look: float | None = None
    """Seconds until the storage must be looked at again, whatever the interval; None for no such need."""
    statements: int = 0


@dataclass(frozen=True, slots=True)
class Environment:
    """What every run uses."""

    kube: KubeClient
    inputs: Inputs
    servers: Servers
    instance_id: str
    login_test_interval: float
    now: Callable[[], datetime]
