"""tradelog upgrade"""

from __future__ import annotations

from tradelog.cli.context import load_config
from tradelog.cli.render import line


def command() -> None:
    """Upgrade the store to this version's schema, after a verified copy of it.

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
        + ("" if copy is None else f"; the copy of the older one is {copy}")
    )
