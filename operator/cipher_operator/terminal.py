"""What is printed for a person at a terminal."""

import sys

from cipher_operator.api.printable import printable


def complain(*lines: str) -> None:
    """Print lines on standard error. What comes from a file, a server or a cluster may hold what a terminal obeys."""
    for line in lines:
        print(printable(line), file=sys.stderr)
