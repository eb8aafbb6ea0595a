"""`python -m benchmarks takeover`: two replicas, and the leader ends, is killed, is stopped or cut off in mid-rotation
and mid-deletion.

Each round counts the seconds until the other one leads and until a storage that is applied at that moment has a status,
what the former leader changed when it went on, and logins that pods were refused.
"""

import argparse
import os
import statistics
from random import Random

from benchmarks.measured import header, row, stage
from devcluster import PostgresServer
from support.takeover import LIMITS, SETTINGS, Outcome, Pair, pair, play


def rounds(both: Pair, kind: str, count: int, seed: int) -> list[Outcome]:
    """Return what came of each; one that does not come to its end is a defect, and ends the program."""
    done = []
    for number in range(count):
        done.append(play(both, kind, Random(f"{seed} {kind} {number}")))
        last = done[-1]
        print(
            f"  {kind} {number}: {last.lease:.2f} s"
            + (f", {last.handover:.2f} s from the release on" if last.handover is not None else "")
            + f", {last.reaction:.2f} s to a status, {last.under_way} of 4 under way, {last.requests} uses, "
            f"stale {list(last.stale)}, refused {list(last.refused)}",
            flush=True,
        )
    return done


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks takeover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kinds", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    # The pods' choices are drawn from it too.
    os.environ["SEED"] = str(options.seed)
    with (
        stage() as ground,
        PostgresServer(16, settings=SETTINGS) as server,
        pair(ground.plane, server, ground.folder / "replicas") as both,
    ):
        outcomes = {kind: rounds(both, kind, options.rounds, options.seed) for kind in options.kinds}
    print(f"seed {options.seed}, n={options.rounds}; seconds from the event")
    header(
        "leader",
        "other leads: median",
        "most",
        "from the release on: most",
        "met at work",
        "status: median",
        "most",
        "stale effects",
        "logins refused",
        "uses by pods",
    )
    for kind, done in outcomes.items():
        lease, reaction = [one.lease for one in done], [one.reaction for one in done]
        row(
            kind,
            statistics.median(lease),
            max(lease),
            max((one.handover for one in done if one.handover is not None), default="-"),
            f"{sum(one.under_way > 0 for one in done)} of {len(done)}",
            statistics.median(reaction),
            max(reaction),
            sum(len(one.stale) for one in done),
            sum(len(one.refused) for one in done),
            sum(one.requests for one in done),
        )
