"""What an auditor holds a gateway's evidence against before believing it; nothing of it rests on the gateway's word.

the receipt, as anybody verifies it → it is of the query asked for → its grants are those that the query names, held
when it was logged, and allow each check → the access stands in the log, with this auditor and case, under
    the receipt's checkpoint if it is of the same log
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consent.verification import authorize, open_grant
from consent.verified import VerifiedGrant
from gateway.protocol.checkpoint import origin_of
from gateway.protocol.errors import BadDataError, ForgedError
from gateway.protocol.keys import PublicKey
from gateway.protocol.leaf import Tags, log_time, read_leaf
from gateway.protocol.limits import EARLY_TOLERANCE
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.presentation import Presentation, read_presentations
from gateway.protocol.proof import parse_proof
from gateway.protocol.reasons import Reason
from gateway.protocol.receipt import VerifiedReceipt, verify_receipt
from gateway.protocol.registry import Registry
from heyan.v1 import log_service_pb2


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: by whom (SPIFFE IDs), which query, in which case, and when (seconds since the epoch)."""

    auditor: str
    requester: str
    request_id: bytes
    case_reference: str
    asked: float = 0.0
    """An access that was logged before is no record of this one. 0: evidence that was kept from an earlier look."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Verified evidence: the receipt, its grants in the query's order, and where the access is logged."""

    receipt: VerifiedReceipt
    grants: tuple[VerifiedGrant, ...]
    access_index: int


def verify_evidence(
    response: log_service_pb2.GetEvidenceResponse, wanted: Wanted, registry: Registry, operator: PublicKey
) -> Evidence:
    """Check evidence whole; BadDataError if anything of it does not hold. Fills in the receipt's registry."""
    response.receipt.registry = registry.token
    receipt = verify_receipt(response.receipt, operator, registry)
    query = receipt.query
    if (query.requester, query.request_id) != (wanted.requester, wanted.request_id):
        raise ForgedError(Reason.RECEIPT_INVALID, "evidence of another request")
    presentations = read_presentations(response.grants)
    if tuple(each.digest for each in presentations) != query.grant_digests:
        raise ForgedError(Reason.GRANT_INVALID, "not the grants that the query names")
    grants = _grants(presentations, receipt, registry)
    _require_consented(receipt, grants, registry)
    return Evidence(receipt, grants, _access(response, wanted, receipt, registry))


def _grants(
    presentations: Sequence[Presentation], receipt: VerifiedReceipt, registry: Registry
) -> tuple[VerifiedGrant, ...]:
    """The grants, by the keys of the time at which their query was first logged."""
    query, then = receipt.query, receipt.log_times[0]
    return tuple(
        open_grant(each, requester=query.requester, gateway=query.gateway, registry=registry, now=then)
        for each in presentations
    )


def _require_consented(receipt: VerifiedReceipt, grants: Sequence[VerifiedGrant], registry: Registry) -> None:
    """Hold each check against the grants: a gateway that asked beyond the consent, or hides it, is found here."""
    held = {grant.digest: grant for grant in grants}
    for answer in receipt.answers:
        try:
            authorize(answer.check, query=receipt.query, grants=held, registry=registry)
        except BadDataError as error:
            if error.reason is Reason.ASSURANCE_TOO_LOW and registry.version > receipt.registry_version:
                continue  # it may have been enough when it was asked
            raise ForgedError(Reason.GRANT_INVALID, f"a check without consent: {error.reason.value}") from None


def _access(
    response: log_service_pb2.GetEvidenceResponse, wanted: Wanted, receipt: VerifiedReceipt, registry: Registry
) -> int:
    """Where the access is logged; ForgedError (PROOF_INVALID) if it is not, or is that of another."""
    proof = parse_proof(response.access.proof.encode())
    gateway, origin = receipt.query.gateway, origin_of(proof.checkpoint)
    terms = registry.party(gateway).gateway
    if terms is None or origin not in terms.origins:
        raise ForgedError(Reason.PROOF_INVALID, "an access in no log of the gateway")
    leaf = read_leaf(response.access.leaf)
    verifiers = proof_verifiers(registry, gateway, origin, receipt.log_times[-1])
    checkpoint = proof.verify(response.access.leaf, verifiers, origin)
    if origin == receipt.checkpoint.origin and checkpoint != receipt.checkpoint:
        raise ForgedError(Reason.PROOF_INVALID, "an access under another checkpoint than the receipt's")
    event, tag = leaf.evidence_access, Tags(response.receipt.leaf_key).query(receipt.query_digest)
    if (event.auditor, event.query_tag, event.case_reference) != (wanted.auditor, tag, wanted.case_reference):
        raise ForgedError(Reason.PROOF_INVALID, "the access of another auditor, query or case")
    if log_time(leaf) < wanted.asked - EARLY_TOLERANCE:
        raise ForgedError(Reason.PROOF_INVALID, "the access of an earlier look, which was not logged again")
    return proof.index
