"""What the collector of cycles has to go through, in a process of its own: it is the whole process's."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import gc, weakref
from cipher_operator.runtime.garbage import YOUNG, set_aside

class Node: ...

def cycle():
    node = Node()
    node.itself = node
    return weakref.ref(node)

before, stays = cycle(), Node()
set_aside()
assert before() is None, "what was garbage before is gone"
assert gc.get_freeze_count() > 1_000 and gc.get_threshold()[0] == YOUNG
assert not any(each is stays for each in gc.get_objects()), "what stays is looked at no more"
later = cycle()
gc.collect()
assert later() is None, "what becomes garbage later is collected"
last = weakref.ref(stays)
del stays
assert last() is None, "what nobody uses any more goes as before"
"""


def test_what_stays_is_set_aside_and_all_else_is_collected() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
