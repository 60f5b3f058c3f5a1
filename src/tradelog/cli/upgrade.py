"""tradelog upgrade"""

from __future__ import annotations

from tradelog.cli.context import load_config
from tradelog.cli.render import line


def command() -> None:
    """Bring the store to this tradelog's schema, after a checked copy of it.

    Every command that writes does this by itself; reading commands never change a store.
    """
    from tradelog.errors import StoreMissing
    from tradelog.store import engine
    from tradelog.store.upgrade import upgrade

    path = load_config().store_path
    if not path.exists():
        raise StoreMissing(f"no store at {path}", hint="fetch or decide something first; that creates it")
    copy = upgrade(path)
    line(
        f"{path} is at schema {engine.SCHEMA}"
        + ("" if copy is None else f"; the older one is kept at {copy}")
    )
