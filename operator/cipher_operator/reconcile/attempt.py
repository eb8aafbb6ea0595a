"""One try of a run, of whatever kind: what of the API server's trouble is told to whom."""

import logging
from collections.abc import Awaitable

from cipher_operator.core.permit import NotLeading
from cipher_operator.kube.port import ApiError, ApiUnavailable
from cipher_operator.queue.following import Next
from cipher_operator.queue.needs import API
from cipher_operator.queue.ticket import Ticket

logger = logging.getLogger(__name__)


async def attempt(work: Awaitable[Next], ticket: Ticket, about: dict[str, str]) -> Next:
    """Return what the work says of the next run; where the API server did not let it come to its end, that it failed.

    `about` names the object in the log.
    """
    try:
        return await work
    except ApiUnavailable as error:
        # Without the API server there is neither an input nor a place for a status.
        api_failed(ticket, error, about)
    except ApiError as error:
        # One that has just started refuses for a moment what it allows later.
        said = f"{error}: {error.message}" if error.message else str(error)
        logger.warning("the Kubernetes API refused: %s; trying again", said, extra=about)
    except NotLeading:
        logger.info("ended: this process does not lead any more", extra=about)
    return Next(failed=True)


def api_failed(ticket: Ticket, error: ApiUnavailable, about: dict[str, str]) -> None:
    """Say in the queue that a run had no answer of the API server: it is everybody's trouble, or perhaps its own, which
    nobody else would tell of."""
    if error.alone:
        logger.warning("the Kubernetes API failed: %s; trying again", error, extra=about)
        ticket.failed_alone(error, error.namespace)
    else:
        ticket.failed(API, error, retry_after=error.retry_after)
