"""What most commands open first."""

from __future__ import annotations

import os
from pathlib import Path

from tradelog import config
from tradelog.store.reader import Reader


def load_config() -> config.Config:
    named = os.environ.get("TRADELOG_CONFIG")
    return config.load(Path(named) if named else None)


def open_reader(loaded: config.Config) -> Reader:
    return Reader(loaded.store_path)
