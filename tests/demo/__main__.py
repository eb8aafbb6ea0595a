"""`python -m demo`: exit code 0 when every step came out as it must, else 1. All is stopped in any case."""

from __future__ import annotations

import signal
import sys
import time
import traceback

from demo import screen
from demo.stage import Stage, StepError
from demo.story import STEPS
from devcluster.controlplane import KubectlError
from devcluster.longrun import SetupError
from devcluster.postgres_programs import find_postgres
from devcluster.processes import ProcessError
from devcluster.programs import find_programs


def main() -> int:
    """Play the steps and return the exit code."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    timings: list[tuple[str, str]] = []
    try:
        # Before the steps, so that the first run's minutes of downloading and building are not counted in them.
        find_programs()
        find_postgres()
        with Stage() as stage:
            failed = _play(stage, timings)
    except SetupError as error:
        screen.failed(str(error))
        return 1
    except KeyboardInterrupt:
        screen.failed("interrupted; everything is stopped")
        return 130
    if failed is not None:
        screen.failed(f"the demo failed in step: {failed}")
        return 1
    screen.title("Seconds")
    screen.table(timings)
    screen.done("everything came out as it must, and everything is stopped", screen.elapsed())
    return 0


def _play(stage: Stage, timings: list[tuple[str, str]]) -> str | None:
    """Return the title of the step that failed, None when all went well."""
    for number, step in enumerate(STEPS, 1):
        screen.title(f"[{number}/{len(STEPS)}] {step.title}")
        began = time.monotonic()
        try:
            step.play(stage)
        except (StepError, ProcessError, KubectlError) as error:
            screen.failed(str(error))
        except Exception:  # the demo ends with the step's name, whatever went wrong in it
            screen.failed(traceback.format_exc())
        else:
            timings.append((step.title, f"{time.monotonic() - began:5.1f} s"))
            continue
        _explain(stage)
        return step.title
    return None


def _explain(stage: Stage) -> None:
    """Show what a person would look at next; nothing of it may hide the failure itself."""
    if log := stage.operator_log(25):
        screen.say("the operator's last log lines:")
        screen.output(log)
    try:
        status = stage.kubectl("get", "cstore", "-o", "yaml", show=False)
    except (KubectlError, ProcessError, OSError):
        return
    screen.say("the CipherStorage:")
    screen.output(status)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
