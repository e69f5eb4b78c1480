"""`python -m relay` is the command `relay` (edge)."""

import sys

from relay.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
