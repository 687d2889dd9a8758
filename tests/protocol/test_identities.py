"""SPIFFE IDs of the trust domain, and nothing that only looks like one."""

import pytest

from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole, parse_identity


@pytest.mark.parametrize("role", PartyRole)
@pytest.mark.parametrize("name", ["a", "0", "changsha-edu", "a--b", "x" * 48])
def test_identity_round_trip(role, name):
    identity = parse_identity(f"spiffe://heyan/{role.value}/{name}")
    assert identity == Identity(role, name)
    assert identity.uri == f"spiffe://heyan/{role.value}/{name}"
    assert identity.dns_name == f"{name}.{role.value}.heyan.internal"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://heyan/gateway",
        "spiffe://heyan/gateway/",
        "spiffe://heyan/operator/a",
        "spiffe://heyan/Gateway/a",
        "spiffe://heyan/gateway/A",
        "spiffe://heyan/gateway/-a",
        "spiffe://heyan/gateway/a-",
        "spiffe://heyan/gateway/a.b",
        "spiffe://heyan/gateway/a/b",
        "spiffe://heyan/gateway/a\n",
        "spiffe://heyan/gateway/a?x",
        "spiffe://heyan/gateway/%61",
        "spiffe://heyan/gateway/" + "x" * 49,
        "spiffe://other/gateway/a",
        "https://heyan/gateway/a",
        " spiffe://heyan/gateway/a",
        "spiffe://heyan/gateway/а",  # a Cyrillic letter
    ],
)
def test_what_only_looks_like_an_identity_is_refused(uri):
    with pytest.raises(MalformedError) as refusal:
        parse_identity(uri, "peer")
    assert refusal.value.violations[0].field == "peer"
    assert not uri or uri not in str(refusal.value)
