"""The operator as a process: its log, its way to the cluster, its end."""

import asyncio
import logging
import os
import threading

from cipher_operator.kube.access import AccessError, load_access
from cipher_operator.postgres.session import neutralise_environment
from cipher_operator.runtime.garbage import set_aside
from cipher_operator.runtime.health import AddressError
from cipher_operator.runtime.logs import set_up
from cipher_operator.runtime.operator import Operator, StartError
from cipher_operator.runtime.settings import Settings, unknown_variables


def run(settings: Settings) -> int:
    """Run the operator until it is told to end, and return the exit code: 1 where it could not start or go on."""
    neutralise_environment(os.environ)
    set_up(settings.log_format, settings.log_level)
    for text in unknown_variables(os.environ):
        logging.getLogger(__name__).warning(text)
    try:
        return asyncio.run(_operate(settings))
    except (StartError, AccessError, AddressError) as error:
        logging.getLogger(__name__).error("cannot start: %s", error)
    return 1


async def _operate(settings: Settings) -> int:
    access = await load_access(os.environ)
    return await Operator(settings, access, watchdog=_end_by_force, known=set_aside).run()


def _end_by_force(seconds: float, code: int) -> None:
    """End the process in `seconds` seconds, if it still runs then: kopf can hang for minutes after it gave up."""

    def end() -> None:
        logging.getLogger(__name__).error("the end takes too long; ending by force")
        logging.shutdown()
        os._exit(code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
