"""Submissions that no SDK would make: a requester changes one of its own and signs it anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.protocol.digests import Kind, digest
from gateway.protocol.presentation import Submission
from gateway.protocol.query import Check, GrantUse, SignedQuery, open_part, read_query, write_part, write_query
from tests.federation import Federation


def resigned(federation: Federation, submission: Submission, **changes: object) -> Submission:
    """With other fields of the query; in another requester's name if that is one of them, by its key."""
    query = replace(read_query(submission.signed.query), **changes)  # type: ignore[arg-type]
    key, data = federation.signing_keys[query.requester], write_query(query)
    return replace(submission, signed=SignedQuery(data, key.key_id, key.sign(Kind.QUERY, data)))


def with_checks(
    federation: Federation, submission: Submission, change: Callable[[Check], Check], **changes: object
) -> Submission:
    """With every check changed, and other fields of the query; the sealed bytes stay."""
    parts = []
    for presented in submission.parts:
        part = open_part(presented.part).part
        parts.append(replace(presented, part=write_part(replace(part, checks=tuple(map(change, part.checks))))))
    digests = tuple(sorted(digest(Kind.PART, part.part) for part in parts))
    bent = replace(submission, parts=tuple(parts))
    return resigned(federation, bent, part_digests=digests, **changes)


def resting_on(federation: Federation, submission: Submission, grant_digest: bytes) -> Submission:
    """With all checks resting on one other grant."""

    def change(check: Check) -> Check:
        uses = tuple(GrantUse(grant_digest, use.authorization) for use in check.authorizations)
        return replace(check, authorizations=uses)

    return with_checks(federation, submission, change, grant_digests=(grant_digest,))
