"""Reading XML from outside: no entities, no DTD, one clear error."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tradelog.errors import UnexpectedType

_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")


def parse(text: str, where: object) -> ElementTree.Element:
    """The root element. Raises UnexpectedType where the text is no XML, or defines entities."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UnexpectedType(f"{where} defines entities or is a page; neither is read")
    try:
        # The declared encoding was of the bytes; the text has been decoded.
        return ElementTree.fromstring(_DECLARATION.sub("", text.lstrip("\ufeff")))  # noqa: S314
    except ElementTree.ParseError as error:
        raise UnexpectedType(
            f"{where} is truncated or damaged: {error}", hint="get the whole file again"
        ) from error
