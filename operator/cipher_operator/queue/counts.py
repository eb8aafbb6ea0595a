"""How the lanes are at one moment, in numbers that name none of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cipher_operator.queue.lane import Lane
from cipher_operator.queue.needs import API, Name, Need


@dataclass(frozen=True, slots=True)
class Counts:
    """How many lanes of servers are open, down, or open with a credential refused; of how many some namespace has all
    slots that it may take; their slots."""

    open: int
    down: int
    refused: int
    full: int
    slots: int
    held: int
    api: bool
    """Whether the API server's lane is open."""


def count(known: Mapping[Name, Lane], refusals: Iterable[Need], shared: Callable[[Name], bool]) -> Counts:
    """Return how lanes are now, of which `refusals` are the credentials that were refused last, and which of them
    several namespaces use."""
    api = known.get(API)
    lanes = {name: lane for name, lane in known.items() if name != API}
    open_ = {name: lane for name, lane in lanes.items() if lane.cause is None}
    up = list(open_.values())
    refused = {name for name, _ in refusals if name in lanes and lanes[name].cause is None}
    return Counts(
        open=len(up) - len(refused),
        down=len(lanes) - len(up),
        refused=len(refused),
        full=sum(lane.full(shared=shared(name)) for name, lane in open_.items()),
        slots=sum(lane.capacity for lane in up),
        held=sum(lane.held for lane in lanes.values()),
        api=api is None or api.cause is None,
    )
