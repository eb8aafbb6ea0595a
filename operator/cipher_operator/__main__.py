"""`python -m cipher_operator`."""

import sys

from cipher_operator.cli import main

sys.exit(main())
