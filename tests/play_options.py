"""Makes the relay ignore one TLS option after another and demands that the option's test notices.

A test that passes whether an option is heeded or not says nothing of it. `config/tls_option_tests.py` names a test for
each option; this player copies the tree, has the reader of the configuration take the option for one that was not
given, and runs that test. Only a test that fails counts.

    python tests/play_options.py [--root DIR] [--jobs N] [OPTION...]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config.tls_option_tests import TESTED

from play_guards import Guard, play_all

# Where the reader comes by the value of every option of the main section.
FILE = "relay/config/read.py"
FIND = "        if given is None:\n            if option.name == \"primary_hostname\":\n"


def ignoring(option: str) -> Guard:
    """The patch after which an option has its default, whatever the configuration says."""
    forgets = f'        if option.name == "{option}":\n            given = None\n'
    return Guard(option, 0, FILE, FIND, forgets + FIND, TESTED[option])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Ignores each TLS option and demands that its test fails.")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("names", nargs="*", metavar="OPTION", help="options to play (default: all)")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(TESTED):
        print(f"options: there is no test for {', '.join(sorted(unknown))}")
        return 2
    chosen = given.names or list(TESTED)
    patches = [ignoring(option) for option in chosen]
    return 0 if play_all(patches, given.root, max(1, given.jobs), "TLS options") else 1


if __name__ == "__main__":
    sys.exit(main())
