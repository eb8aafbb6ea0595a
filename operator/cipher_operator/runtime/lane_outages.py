"""What the log says of lanes that go down and come back."""

import logging

from cipher_operator.api.failures import Failure
from cipher_operator.kube.outage import ApiOutage
from cipher_operator.queue.lanes import LEFT
from cipher_operator.queue.needs import API

RUNS = "the run of storages"
"""Who asks in the lane of the API server, beside the watches."""

logger = logging.getLogger(__name__)


class LaneOutages:
    """What lanes call when an outage begins and ends. A server's address is a Secret's content: none is named."""

    def __init__(self, api: ApiOutage) -> None:
        self._api = api

    def __call__(self, lane: object, over: bool, cause: object, seconds: float) -> None:
        """Log it; that of the API server with those of the watches, once for all."""
        if lane == API and over:
            self._api.end(RUNS)
        elif lane == API:
            self._api.begin(RUNS, str(cause))
        elif cause is LEFT:
            logger.info(
                "a PostgreSQL server that does not answer is asked no more, after %.0f s: nobody needs it", seconds
            )
        elif over:
            logger.info("a PostgreSQL server answers again, after %.0f s", seconds)
        else:
            reason = cause.reason if isinstance(cause, Failure) else "no answer"
            logger.warning("a PostgreSQL server does not answer: %s; it is probed every 2 s", reason)
