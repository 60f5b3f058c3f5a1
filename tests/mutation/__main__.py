"""``python -m tests.mutation [MODULE …]``: which small wrong lines of the critical modules no test sees.

One process imports the product and collects the tests. A first fork runs them under coverage; then each
mutant gets a fork of its own, in which the code of the module's functions is exchanged in place and the tests
that execute its line run, the quickest first, until one fails. Tests that start processes take no part: a
process imports the module as it is on disk.

Prints for each module how many were killed and how many survived, each survivor, and for each that is
equivalent (listed in equivalent.toml) why. Ends with 1 where fewer than 95 of 100 of the rest are killed.
"""

from __future__ import annotations

import argparse
import sys

import pytest

from tests.mutation.runner import MODULES, Runner

TESTS = [
    f"tests/{room}"
    for room in ("execute", "decide", "store", "report", "operate", "domain", "adopt", "upkeep")
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", help=f"of: {', '.join(MODULES)} (all)")
    parser.add_argument("--match", default="", help="only mutants whose key holds this text")
    parser.add_argument("--seconds", type=float, default=20.0, help="test time a mutant (20)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    given = parser.parse_args()
    unknown = [name for name in given.modules if name not in MODULES]
    if unknown:
        parser.error(f"no such module: {', '.join(unknown)}")
    runner = Runner(
        modules=tuple(given.modules) or tuple(MODULES),
        match=given.match,
        seconds=given.seconds,
        jobs=given.jobs,
    )
    options = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--timeout=0", *TESTS]
    code = pytest.main(options, plugins=[runner])
    return int(code) or runner.exit_code


if __name__ == "__main__":
    sys.exit(main())
