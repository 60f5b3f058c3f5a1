"""Three simulated years and their archive: sizes, times, and that every report says the same.

python -m benchmarks.archive [ROWS]     rows that a feed brings in each month, by default 2,000
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests import wall_clock
from tests.conftest import cli_in
from tests.execute.driving import ENVIRONMENT
from tests.fakes.desk import Desk
from tests.upkeep import years
from tests.upkeep.test_archive import told

from tradelog.domain import clock


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000
    desk = Desk()
    with (
        tempfile.TemporaryDirectory(prefix="tradelog-bench-") as folder,
        patch.object(wall_clock, "now", lambda: years.MOMENT[0]),
        patch.object(clock, "now", lambda: years.MOMENT[0]),
    ):
        fund = years.live(Path(folder), desk, trades=rows)
        cli = cli_in(fund.home)
        before, size = told(cli), fund.store.stat().st_size
        verified = _timed(lambda: cli("verify", **ENVIRONMENT))
        archived = _timed(lambda: cli("archive", **ENVIRONMENT))
        after = fund.store.stat().st_size
        files = sum(path.stat().st_size for path in (fund.store.parent / "archive").iterdir())
        with_files = _timed(lambda: cli("verify", **ENVIRONMENT))
        is_same = told(cli) == before
    desk.close()
    print(f"three years, {rows:,} rows a month: {size / 1e6:.1f} MB, of which one year of three is archived")
    print(f"store after     {after / size:6.2f} of before   {after / 1e6:.1f} MB")
    print(f"files           {files / (size - after):6.2f} of what left  {files / 1e6:.1f} MB")
    print(f"archive         {archived / verified:6.2f} of a verify   {archived:.1f} s")
    print(f"verify after    {with_files / verified:6.2f} of before")
    print(f"reports         {'the same' if is_same else 'NOT THE SAME'}")
    if not is_same:
        sys.exit(1)


def _timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    ended = call()
    assert ended.code == 0, ended
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
