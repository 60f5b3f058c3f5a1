"""SEC ownership filings (Forms 3, 4 and 5): the filing, and each line of its two tables.

From the XML itself or the full submission around it (SGML, also in the .nc form). A line is known by
accession, table and number; its owners are a list, never a multiplier of it. Codes and their meaning:
sec.gov/files/forms-3-4-5.pdf. Only P and S are open-market trades; an award is no purchase.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal, localcontext
from hashlib import sha256
from typing import Any
from xml.etree.ElementTree import Element

from tradelog.domain import clock, money
from tradelog.errors import SchemaMismatch
from tradelog.ingest import fields, xml
from tradelog.ingest.identity import Record
from tradelog.ingest.sources.files import truncated

FEED = "sec-edgar"
FILING = "insider_filing"
TRADE = "insider_trade"
# A table of its own: a purchase of an option is no purchase of the share, and a put is its opposite.
DERIVATIVE = "insider_derivative"
HOLDING = "insider_holding"

SIDES = {
    "P": "purchase",
    "S": "sale",
    "A": "award",
    "D": "return to issuer",
    "F": "tax",
    "G": "gift",
    "M": "exercise",
    "X": "exercise",
    "O": "exercise",
    "C": "conversion",
    "E": "expiry",
    "H": "expiry",
    "W": "inheritance",
    "U": "tender",
    "K": "swap",
    "L": "small acquisition",
    "V": "voluntary",
}
OPEN_MARKET = frozenset("PS")
_TABLES = (
    ("nonDerivativeTable", "nonderivative", TRADE, "nonDerivativeTransaction", "nonDerivativeHolding"),
    ("derivativeTable", "derivative", DERIVATIVE, "derivativeTransaction", "derivativeHolding"),
)
_ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
_HEADER = {
    "accession": re.compile(r"(?:ACCESSION NUMBER:\s*|<ACCESSION-NUMBER>)(\d{10}-\d{2}-\d{6})"),
    "accepted": re.compile(r"<ACCEPTANCE-DATETIME>(\d{14})"),
    "filed": re.compile(r"(?:FILED AS OF DATE:\s*|<FILING-DATE>)(\d{8})"),
}
_XML = re.compile(r"<XML>\s*(.*?)\s*</XML>", re.DOTALL)
_EXCHANGE = re.compile(r"^[A-Z]+\s*:\s*")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What surrounds a document. ``filed_at`` is store text (UTC), ``filed_day`` EDGAR's filing date.

    ``accession`` is None for an XML without its submission, which cannot be distinguished from a copy of it.
    """

    accession: str | None
    filed_at: str | None
    filed_as_given: str | None
    filed_day: str | None


def is_submission(text: str) -> bool:
    """Whether a text is a full submission, in either of its two forms."""
    return text.lstrip("\ufeff \r\n").startswith(("<SEC-DOCUMENT>", "<SUBMISSION>", "-----BEGIN PRIVACY"))


def read_submission(
    text: str, where: object, position: int = 1, accession: str | None = None
) -> list[Record]:
    """The records of a full submission, under the accession that it was requested by, or else its own.

    Raises UnexpectedType, SchemaMismatch.
    """
    envelope = _envelope(text)
    if accession is not None:
        envelope = replace(envelope, accession=accession)
    documents = [body for body in _XML.findall(text) if "<ownershipDocument" in body]
    if envelope.accession is not None and not documents and "<ownershipDocument" in text:
        raise truncated(where, "the document in it has no end")
    if envelope.accession is None or len(documents) != 1:
        raise SchemaMismatch(
            f"{where} is a submission with {len(documents)} ownership documents"
            f" and {'no' if envelope.accession is None else 'an'} accession number",
            hint="Forms 3, 4 and 5 are read",
        )
    return read_document(documents[0], envelope, where, position)


def read_xml(text: str, where: object, position: int = 1) -> list[Record]:
    """The records of an ownership XML alone; its accession number is taken from the name of the file."""
    # EDGAR names the folder by the accession number without its dashes.
    name = "/".join(str(where).split("/")[-2:])
    accession = accession_in(name)
    if accession is None and (bare := re.search(r"(?<!\d)(\d{10})(\d{2})(\d{6})(?!\d)", name)):
        accession = "-".join(bare.groups())
    return read_document(text, Envelope(accession, None, None, None), where, position)


def read_document(text: str, envelope: Envelope, where: object, position: int = 1) -> list[Record]:
    """The filing and its lines, in the order of the document. Raises UnexpectedType, SchemaMismatch."""
    root = xml.parse(text, where)
    if root.tag != "ownershipDocument":
        raise SchemaMismatch(f"{where} is no ownership document but <{root.tag}>")
    head = _head(root)
    _refuse_nameless(head, where)
    document = envelope.accession or "sha256:" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    flags = _filing_flags(head, envelope)
    records = [_filing(text, head, envelope, document, flags, position)]
    for tag, table, kind, transaction, holding in _TABLES:
        lines = itertools.chain.from_iterable(root.findall(tag))
        for number, line in enumerate(lines, 1):
            if line.tag not in (transaction, holding):
                continue
            what = HOLDING if line.tag == holding else kind
            at = position + len(records)
            records.append(_line(line, (what, table, number), head, envelope, document, flags, at))
    return records


def _refuse_nameless(head: dict[str, Any], where: object) -> None:
    """Raise SchemaMismatch for a document without its form, issuer or owners."""
    if head["form"].removesuffix("/A") not in ("3", "4", "5"):
        raise SchemaMismatch(f"{where} is no Form 3, 4 or 5 but {head['form'] or 'of no form'!r}")
    people = [head["issuer"], *head["owners"]]
    if not head["owners"] or not all(item["cik"].strip("0") and item["name"] for item in people):
        raise SchemaMismatch(f"{where} does not name its issuer and its owners by CIK and name")


def accession_in(text: str) -> str | None:
    """The accession number in a text; None without one."""
    match = _ACCESSION.search(text)
    return None if match is None else match[0]


def accepted_at(stamp: str) -> str | None:
    """Store text of an acceptance stamp YYYYMMDDHHMMSS, which is Eastern time; None for no such time."""
    try:
        at = datetime.strptime(stamp, "%Y%m%d%H%M%S")  # noqa: DTZ007 -- the zone is put on below
    except ValueError:
        return None
    if fields.day(at.date().isoformat(), clock.market_today()) is None:
        return None
    return clock.to_text(at.replace(tzinfo=clock.zone(clock.MARKET_ZONE)))


def iso_day(text: str) -> str:
    """YYYYMMDD as ISO."""
    return f"{text[:4]}-{text[4:6]}-{text[6:8]}" if len(text) == 8 and text.isdigit() else text


def _envelope(text: str) -> Envelope:
    head = text[:20_000]
    headers = {name: match[1] for name, pattern in _HEADER.items() if (match := pattern.search(head))}
    filed_day = iso_day(headers["filed"]) if "filed" in headers else None
    accepted = headers.get("accepted")
    moment = None if accepted is None else accepted_at(accepted)
    if moment is not None:
        return Envelope(headers.get("accession"), moment, accepted, filed_day)
    # A bare date counts as the end of that day: EDGAR takes filings until 22:00 Eastern.
    day = None if filed_day is None else fields.day(filed_day, clock.market_today())
    end = None if day is None else clock.end_of_day(day)
    return Envelope(headers.get("accession"), end, filed_day, filed_day)


def _head(root: Element) -> dict[str, Any]:
    """The fields of the filing itself; all as text."""
    return {
        "form": _text_of(root, "documentType"),
        "period": _text_of(root, "periodOfReport")[:10],
        "amends_filed": _text_of(root, "dateOfOriginalSubmission")[:10],
        "issuer": {
            "cik": _text_of(root, "issuer/issuerCik").zfill(10),
            "name": _text_of(root, "issuer/issuerName"),
            "symbol": _text_of(root, "issuer/issuerTradingSymbol"),
        },
        "owners": [_owner(owner) for owner in root.findall("reportingOwner")],
        "plan_10b5_1": _is_true(_text_of(root, "aff10b5One")),
        "footnotes": {
            note.get("id", ""): "".join(note.itertext()).strip()
            for note in root.findall("footnotes/footnote")
        },
        "remarks": _text_of(root, "remarks"),
    }


def _owner(owner: Element) -> dict[str, Any]:
    relation = "reportingOwnerRelationship"
    return {
        "cik": _text_of(owner, "reportingOwnerId/rptOwnerCik").zfill(10),
        "name": _text_of(owner, "reportingOwnerId/rptOwnerName"),
        "is_director": _is_true(_text_of(owner, f"{relation}/isDirector")),
        "is_officer": _is_true(_text_of(owner, f"{relation}/isOfficer")),
        "is_ten_percent_owner": _is_true(_text_of(owner, f"{relation}/isTenPercentOwner")),
        "is_other": _is_true(_text_of(owner, f"{relation}/isOther")),
        "officer_title": _text_of(owner, f"{relation}/officerTitle"),
    }


def _filing_flags(head: dict[str, Any], envelope: Envelope) -> tuple[str, ...]:
    fields_of_filing = (
        ("amendment", head["form"].endswith("/A")),
        ("no_accession", envelope.accession is None),
        ("no_filed_date", envelope.filed_at is None),
        ("several_owners", len(head["owners"]) > 1),
    )
    return tuple(name for name, is_so in fields_of_filing if is_so)


def _filing(
    text: str,
    head: dict[str, Any],
    envelope: Envelope,
    document: str,
    flags: tuple[str, ...],
    position: int,
) -> Record:
    owners = ",".join(sorted(owner["cik"] for owner in head["owners"]))
    key = f"{head['issuer']['cik']} {owners}"
    is_amendment = "amendment" in flags
    original = head["amends_filed"] if is_amendment else envelope.filed_day
    return Record(
        kind=FILING,
        position=position,
        identity=(document,),
        content=(json.dumps(head, ensure_ascii=False, sort_keys=True),),
        payload=text,
        event_date=_day(head["period"]),
        filed_at=envelope.filed_at,
        filed_as_given=envelope.filed_as_given,
        # No symbol: its lines have it, and a filing is no trade to be listed beside them.
        actor=_names(head),
        flags=flags,
        document=document,
        reference=f"{key} {original}" if original and not is_amendment else None,
        amends=f"{key} {original}" if original and is_amendment else None,
        person=head["owners"][0]["cik"] if len(head["owners"]) == 1 else None,
    )


def _line(
    line: Element,
    what: tuple[str, str, int],
    head: dict[str, Any],
    envelope: Envelope,
    document: str,
    filing_flags: tuple[str, ...],
    position: int,
) -> Record:
    kind, table, number = what
    line_fields = _line_fields(line)
    code = line_fields["code"]
    day = _day(line_fields["date"])
    cost, flags = _cost(line_fields, kind)
    if head["plan_10b5_1"] and kind != HOLDING:
        flags.append("10b5_1_plan")
    if _is_true(line_fields["equity_swap"]):
        flags.append("equity_swap")
    if kind != HOLDING and day is None:
        flags.append(f"impossible_event_date: {line_fields['date'] or 'none given'}")
    if day is not None and envelope.filed_day is not None and day > envelope.filed_day:
        flags.append("traded_after_filed")
    content = json.dumps({**line_fields, "issuer": head["issuer"], "owners": head["owners"]}, sort_keys=True)
    payload = {
        "form": head["form"],
        "table": table,
        "line": number,
        **line_fields,
        "issuer": head["issuer"],
        "owners": head["owners"],
        "plan_10b5_1": head["plan_10b5_1"],
        "notes": {note: head["footnotes"].get(note, "") for note in line_fields["footnotes"]},
    }
    return Record(
        kind=kind,
        position=position,
        identity=(document, table, str(number)),
        content=(content,),
        payload=json.dumps(payload, ensure_ascii=False),
        event_date=day,
        filed_at=envelope.filed_at,
        filed_as_given=envelope.filed_as_given,
        symbol=symbol(head["issuer"]["symbol"]),
        actor=_names(head),
        side=_side(kind, code),
        amount_low=cost,
        amount_high=cost,
        flags=(*filing_flags, *flags),
        document=document,
        person=head["owners"][0]["cik"] if len(head["owners"]) == 1 else None,
    )


def _side(kind: str, code: str) -> str:
    if kind == HOLDING:
        return "holding"
    side = SIDES.get(code, "other")
    return f"derivative {side}" if kind == DERIVATIVE else side


def _line_fields(line: Element) -> dict[str, Any]:
    """The fields of a line, as given. A value may be missing with only a footnote in its place."""
    amounts, coding = "transactionAmounts", "transactionCoding"
    after = "postTransactionAmounts"
    return {
        "security": _value(line, "securityTitle"),
        "date": _value(line, "transactionDate")[:10],
        "deemed_date": _value(line, "deemedExecutionDate")[:10],
        "code": _text_of(line, f"{coding}/transactionCode"),
        "equity_swap": _text_of(line, f"{coding}/equitySwapInvolved"),
        "timeliness": _value(line, "transactionTimeliness"),
        "shares": _value(line, f"{amounts}/transactionShares"),
        "total_value": _value(line, f"{amounts}/transactionTotalValue"),
        "price": _value(line, f"{amounts}/transactionPricePerShare"),
        "acquired_disposed": _value(line, f"{amounts}/transactionAcquiredDisposedCode"),
        "shares_after": _value(line, f"{after}/sharesOwnedFollowingTransaction"),
        "value_after": _value(line, f"{after}/valueOwnedFollowingTransaction"),
        "direct_or_indirect": _value(line, "ownershipNature/directOrIndirectOwnership"),
        "nature": _value(line, "ownershipNature/natureOfOwnership"),
        "exercise_price": _value(line, "conversionOrExercisePrice"),
        "exercise_date": _value(line, "exerciseDate")[:10],
        "expiration_date": _value(line, "expirationDate")[:10],
        "underlying": _value(line, "underlyingSecurity/underlyingSecurityTitle"),
        "underlying_shares": _value(line, "underlyingSecurity/underlyingSecurityShares"),
        "price_is_in_a_footnote": not _value(line, f"{amounts}/transactionPricePerShare")
        and line.find(f"{amounts}/transactionPricePerShare/footnoteId") is not None,
        "footnotes": sorted({note.get("id", "") for note in line.iter("footnoteId")}),
    }


def _cost(line_fields: dict[str, Any], kind: str) -> tuple[Decimal | None, list[str]]:
    """The dollars of an open-market trade; None for anything else."""
    if kind != TRADE or line_fields["code"] not in OPEN_MARKET:
        return None, []
    cost = product(line_fields["shares"], line_fields["price"])
    if cost is not None:
        return cost, []
    return None, ["price_in_footnote" if line_fields["price_is_in_a_footnote"] else "unknown_amount"]


def product(shares: str, price: str) -> Decimal | None:
    """Dollars, exactly; None where one of the two is no number above 0, or their product no sum of money."""
    try:
        left, right = money.parse(shares), money.parse(price)
        with localcontext() as context:
            context.prec = 80
            cost = money.parse(left * right)
    except ValueError:
        return None
    return cost if left > 0 and right > 0 else None


def symbol(text: str) -> str | None:
    """The ticker that an issuer gives, without the exchange in front; None for NONE, N/A and several."""
    bare = _EXCHANGE.sub("", text.strip().upper())
    return None if re.search(r"[,;/]|\s", bare) and bare != "N/A" else fields.ticker(bare)


def _names(head: dict[str, Any]) -> str:
    return "; ".join(owner["name"] for owner in head["owners"])


def _day(text: str) -> str | None:
    parsed = fields.day(text, clock.market_today())
    return None if parsed is None else parsed.isoformat()


def _value(line: Element, path: str) -> str:
    return _text_of(line, f"{path}/value")


def _text_of(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _is_true(text: str) -> bool:
    return text.strip().lower() in ("1", "true")


def read_many(text: str, where: object) -> Iterator[Record]:
    """The records of a file that holds one filing, XML or submission."""
    yield from read_submission(text, where) if is_submission(text) else read_xml(text, where)
