"""Which grants, and which elements of them, the department of a part is shown: what its part rests on, no more."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from consent.disclosures import disclosure_digest
from consent.grant import peek
from gateway.protocol.errors import NotGrantedError
from gateway.protocol.presentation import Presentation
from gateway.protocol.query import Part, Query
from gateway.protocol.reasons import Reason


def select_disclosures(presentation: Presentation, indexes: Collection[int]) -> Presentation:
    """`presentation` with the elements of `indexes` only, in the grant's order; for a grant known to be well-formed.

    Raises MalformedError, or NotGrantedError (AUTHORIZATION_NOT_DISCLOSED) if one of them is not at hand.
    """
    digests = peek(presentation.grant).disclosure_digests
    held = {disclosure_digest(text): text for text in presentation.disclosures}
    try:
        return Presentation(presentation.grant, tuple(held[digests[index]] for index in sorted(set(indexes))))
    except (KeyError, IndexError):
        raise NotGrantedError(Reason.AUTHORIZATION_NOT_DISCLOSED) from None


def presentations_for(part: Part, query: Query, presentations: Sequence[Presentation]) -> tuple[Presentation, ...]:
    """What the department of `part` is shown: the grants and elements that its checks use, in the query's order.

    The guardian's grant is always among them, without any element where no check uses it (`verification`, invariant 6).
    Raises NotGrantedError (AUTHORIZATION_NOT_DISCLOSED).
    """
    uses: dict[bytes, set[int]] = {query.grant_digests[0]: set()}
    for check in part.checks:
        for use in check.authorizations:
            uses.setdefault(use.grant_digest, set()).add(use.authorization)
    held = {presentation.digest: presentation for presentation in presentations}
    if not uses.keys() <= held.keys():
        raise NotGrantedError(Reason.AUTHORIZATION_NOT_DISCLOSED, "a grant that was not presented")
    return tuple(select_disclosures(held[value], uses[value]) for value in query.grant_digests if value in uses)
