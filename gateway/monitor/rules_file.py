"""The file of a monitor's rules: TOML, strictly read; every problem of it is told at once, with its line."""

from __future__ import annotations

from gateway.monitor.rules import PERIODS, QueryLimit, RefusalLimit, Rules
from gateway.protocol.errors import MalformedError
from gateway.protocol.reasons import Reason, Text
from gateway.rules.reading import Section, Source

MAX_LIMIT = 10**9

EXAMPLE = """\
# Rules of heyan log monitor. 日志监测规则。
# What must hold of every log needs none: forks, rollbacks, signatures, tiles, stalls, order of leaves.

# Verifications that one requester may have logged within a minute, an hour or a day (times of the log).
[[queries]]
at_most = 600
per = "minute"

[[queries]]
at_most = 20_000
per = "hour"

# A limit of its own takes the place of the general one of the same period.
[[queries]]
at_most = 2_000
per = "minute"
requester = "spiffe://heyan/requester/changsha-edu"

# Refusals by reason. Without reasons, of any; each_peer = false counts all peers together.
[[refusals]]
at_most = 20
per = "hour"
reasons = ["QUERY_SIGNATURE_INVALID", "GRANT_INVALID", "GRANT_OTHER_REQUESTER", "COMMITMENT_MISMATCH"]

[[refusals]]
at_most = 5_000
per = "hour"
each_peer = false

# Verifications for enrolment while no window of the county is open, by the rule packs of --packs.
[windows]
outside = true

# To be told though nothing is wrong by itself; they leave the exit code 0.
[notices]
evidence_accesses = true
erasures = true
restores = true
"""
"""What `--example-rules` prints; it can be read back."""

_TABLES = ("windows", "notices")
_REASONS = frozenset(reason.value for reason in Reason)
_PARTY = r"spiffe://[\x21-\x7e]{1,200}"


def read_rules(name: str, data: bytes) -> Rules:
    """The rules in a file; MalformedError (CONFIGURATION_INVALID) with every problem, located."""
    try:
        return _read(Source(name, data))
    except MalformedError as error:
        raise MalformedError(Reason.CONFIGURATION_INVALID, error.detail, violations=error.violations) from None


def _read(source: Source) -> Rules:
    top = Section(source, source.values, ())
    queries = [_query(Section(source, value, ("queries", number))) for number, value in _tables(top, "queries")]
    refusals = [_refusal(Section(source, value, ("refusals", number))) for number, value in _tables(top, "refusals")]
    windows, notices = (Section(source, {} if (value := top.get(key)) is None else value, (key,)) for key in _TABLES)
    rules = Rules(
        queries=tuple(queries),
        refusals=tuple(refusals),
        outside_windows=windows.flag("outside", default=True),
        evidence_accesses=notices.flag("evidence_accesses", default=True),
        erasures=notices.flag("erasures", default=True),
        restores=notices.flag("restores", default=True),
    )
    for section in (windows, notices, top):
        section.end()
    names = rules.names
    if len(set(names)) != len(names):
        source.fail(("queries",), Text("同一规则不得重复", "must not state a rule twice"))
    source.finish()
    return rules


def _tables(top: Section, key: str) -> list[tuple[int, object]]:
    return list(enumerate(top.items(key, required=False)))


def _query(section: Section) -> QueryLimit:
    expected = Text("应为请求方的 SPIFFE ID", "must be the SPIFFE ID of a requester")
    limit = QueryLimit(
        at_most=_amount(section),
        per=section.choice("per", PERIODS) or "hour",
        requester=section.string("requester", _PARTY, expected, required=False) or "",
    )
    section.end()
    return limit


def _refusal(section: Section) -> RefusalLimit:
    expected = Text("应为接口约定的拒绝理由", "must be a reason of the contract")
    limit = RefusalLimit(
        at_most=_amount(section),
        per=section.choice("per", PERIODS) or "hour",
        reasons=section.choices("reasons", _REASONS, expected=expected) if "reasons" in section else (),
        each_peer=section.flag("each_peer", default=True),
    )
    section.end()
    return limit


def _amount(section: Section) -> int:
    value = section.get("at_most", required=True)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_LIMIT:
        section.fail("at_most", Text(f"应为 0 至 {MAX_LIMIT} 的整数", f"must be a whole number from 0 to {MAX_LIMIT}"))
        return 0
    return value
