"""Small ownership filings, indexes and member lists. Invented, in the shapes that really come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

OWNER = """<reportingOwner><reportingOwnerId><rptOwnerCik>{cik}</rptOwnerCik>
<rptOwnerName>{name}</rptOwnerName></reportingOwnerId><reportingOwnerRelationship>
<isDirector>{director}</isDirector><isOfficer>{officer}</isOfficer>
<isTenPercentOwner>{ten_percent}</isTenPercentOwner>
<officerTitle>CEO &amp; President</officerTitle></reportingOwnerRelationship></reportingOwner>"""


def line(
    code: str = "P",
    *,
    shares: str = "<value>100</value>",
    price: str = "<value>10.25</value><footnoteId id='F1'/>",
    day: str = "2026-11-20",
    derivative: bool = False,
    acquired: str = "A",
    after: str = "1100",
    swap: str = "0",
) -> str:
    kind = "derivativeTransaction" if derivative else "nonDerivativeTransaction"
    return f"""<{kind}><securityTitle><value>Common Stock</value></securityTitle>
<transactionDate><value>{day}</value></transactionDate>
<transactionCoding><transactionFormType>4</transactionFormType><transactionCode>{code}</transactionCode>
<equitySwapInvolved>{swap}</equitySwapInvolved></transactionCoding>
<transactionAmounts><transactionShares>{shares}</transactionShares>
<transactionPricePerShare>{price}</transactionPricePerShare>
<transactionAcquiredDisposedCode><value>{acquired}</value></transactionAcquiredDisposedCode></transactionAmounts>
<postTransactionAmounts><sharesOwnedFollowingTransaction><value>{after}</value></sharesOwnedFollowingTransaction>
</postTransactionAmounts><ownershipNature><directOrIndirectOwnership><value>D</value>
</directOrIndirectOwnership></ownershipNature></{kind}>"""


HOLDING = """<nonDerivativeHolding><securityTitle><value>Common Stock</value></securityTitle>
<postTransactionAmounts><sharesOwnedFollowingTransaction><value>55</value></sharesOwnedFollowingTransaction>
</postTransactionAmounts></nonDerivativeHolding>"""


def ownership(
    lines: Sequence[str] = (line(),),
    derivative: Sequence[str] = (),
    *,
    form: str = "4",
    owners: Sequence[tuple[str, str]] = (("0000000011", "Doe Jane"),),
    symbol: str = "ABC",
    plan: str = "0",
    original: str = "",
    period: str = "2026-11-20",
    roles: str = "director officer",
) -> str:
    held = {role: str(int(role in roles.split())) for role in ("director", "officer", "ten_percent")}
    people = "".join(OWNER.format(cik=cik, name=name, **held) for cik, name in owners)
    amended = f"<dateOfOriginalSubmission>{original}</dateOfOriginalSubmission>" if original else ""
    return f"""<?xml version="1.0"?>
<ownershipDocument><schemaVersion>X0508</schemaVersion><documentType>{form}</documentType>
<periodOfReport>{period}</periodOfReport>{amended}
<issuer><issuerCik>0000000099</issuerCik><issuerName>ABC Corp</issuerName>
<issuerTradingSymbol>{symbol}</issuerTradingSymbol></issuer>{people}<aff10b5One>{plan}</aff10b5One>
<nonDerivativeTable>{"".join(lines)}</nonDerivativeTable>
<derivativeTable>{"".join(derivative)}</derivativeTable>
<footnotes><footnote id="F1">An average price.</footnote></footnotes></ownershipDocument>"""


def submission(body: str, accession: str = "0000000011-26-000001", accepted: str = "20261120183057") -> str:
    return f"""<SEC-DOCUMENT>{accession}.txt : {accepted[:8]}
<SEC-HEADER>{accession}.hdr.sgml : {accepted[:8]}
<ACCEPTANCE-DATETIME>{accepted}
ACCESSION NUMBER:\t\t{accession}
CONFORMED SUBMISSION TYPE:\t4
FILED AS OF DATE:\t\t{accepted[:8]}
</SEC-HEADER>
<DOCUMENT><TYPE>4<TEXT><XML>
{body}
</XML></TEXT></DOCUMENT></SEC-DOCUMENT>
"""


def pds(body: str, accession: str = "0000000011-26-000001", filed: str = "20261120") -> str:
    """The .nc form of a submission: no newlines between tags, and no time of acceptance."""
    return (
        f"<SUBMISSION>\n<ACCESSION-NUMBER>{accession}<TYPE>4<FILING-DATE>{filed}<DOCUMENT><TYPE>4"
        f"<TEXT><XML>{body.replace(chr(10), '')}</XML></TEXT></DOCUMENT></SUBMISSION>\n"
    )


def form_index(rows: Sequence[tuple[str, str, str, str]], day: str = "20261120") -> str:
    """A daily index by form type, of (form, company, cik, accession)."""
    head = "Description:           Daily Index of EDGAR Dissemination Feed by Form Type\n \n"
    head += "Form Type   Company Name    CIK         Date Filed  File Name\n" + "-" * 100 + "\n"
    return head + "".join(
        f"{form:<17} {name:<61} {cik:<11} {day}    edgar/data/{cik}/{accession}.txt         \n"
        for form, name, cik, accession in rows
    )


def submissions(rows: Sequence[tuple[str, str, str, str]], cik: str = "0000000099") -> dict[str, Any]:
    """One entity's submissions, of (accession, form, filing date, acceptance time)."""
    return {
        "cik": cik,
        "name": "ABC Corp",
        "filings": {
            "recent": {
                "accessionNumber": [row[0] for row in rows],
                "form": [row[1] for row in rows],
                "filingDate": [row[2] for row in rows],
                "acceptanceDateTime": [row[3] for row in rows],
                "primaryDocument": ["xslF345X05/doc.xml"] * len(rows),
            },
            "files": [],
        },
    }


def legislator(
    bioguide: str, first: str, last: str, *, kind: str = "rep", end: str = "2027-01-03", **name: str
) -> dict[str, Any]:
    return {
        "id": {"bioguide": bioguide, "fec": ["H0XX00000"]},
        "name": {"first": first, "last": last, **name},
        "bio": {"birthday": "1960-01-02", "gender": "F"},
        "terms": [
            {"type": kind, "start": "2021-01-03", "end": end, "state": "XX", "district": 1, "party": "R"}
        ],
    }


def legislators_csv(rows: Sequence[dict[str, Any]]) -> str:
    head = "last_name,first_name,middle_name,suffix,nickname,full_name,birthday,gender,type,state,district"
    head += ",party,bioguide_id"
    lines = [head]
    for row in rows:
        name, term = row["name"], row["terms"][-1]
        full = name.get("official_full", f"{name['first']} {name['last']}")
        values = [name["last"], name["first"], name.get("middle", ""), name.get("suffix", "")]
        values += [name.get("nickname", ""), full, row["bio"]["birthday"], row["bio"]["gender"]]
        values += [term["type"], term["state"], str(term["district"]), term["party"], row["id"]["bioguide"]]
        lines.append(",".join(values))
    return "\n".join(lines) + "\n"


def seats(codes: Sequence[str], size: int = 5, *, first_rank: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Membership of committees: ``size`` seats each, members M000001 and so on."""
    return {
        code: [
            {"name": f"Member {n}", "party": "majority", "rank": first_rank + n, "bioguide": f"M{n:06d}"}
            for n in range(size)
        ]
        for code in codes
    }


def as_yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False)


def as_json(value: Any) -> str:
    return json.dumps(value)


COMMITTEES = [
    {
        "type": "house",
        "name": "House Committee on Tests",
        "thomas_id": "HSTE",
        "subcommittees": [{"name": "Fixtures", "thomas_id": "15"}, {"name": "Mocks", "thomas_id": "22"}],
    }
]
