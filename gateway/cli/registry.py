"""`heyan registry`: the federation operator's commands. Each loads the desk, does one thing, and says what came of it.

The rules stand in gateway.operator; this module parses, calls and prints, and is where `now` comes from.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from cyclopts import App

from gateway.cli.json_output import print_json
from gateway.cli.options import DeskOption, JsonOption, OptionalDesk, usage_error
from gateway.cli.registry_logs import next_log
from gateway.cli.registry_print import say, say_parties, when
from gateway.cli.registry_staff import retire, staff
from gateway.operator import document as editing
from gateway.operator.desk import OVERLAP, REGISTRY_LIFETIME, START_DELAY, Desk
from gateway.operator.enrolment import PartyFolder
from gateway.party.keyfiles import read_public, write_atomic
from gateway.party.registry_keeper import operator_key
from gateway.protocol.keys import Algorithm
from gateway.protocol.registry import Registry, open_registry
from gateway.protocol.registry_terms import KeyUse

_DAY = 86_400
_MOST_DAYS = 366

app = App(
    name="registry",
    help="Run the federation's registry: who is a party, with which keys, allowed to do what.",
)

app.command(staff)
app.command(retire)
app.command(next_log)

Rotated = Literal["certificate", "query", "answer", "log", "grant", "sealing"]


@app.command
def init(federation: str, *, desk: DeskOption) -> None:
    """Make the operator's key, the transport CA and an empty draft.

    Prints the verifier key that every party pins. Keep a copy of operator.key offline.

    Example: `heyan registry init hunan-edu --desk operator`

    Parameters
    ----------
    federation
        Name of the federation, without spaces or plus signs.
    """
    made = Desk.create(desk, federation, time.time())
    say(f"The desk of {federation} is in {desk}.")
    say(f"Parties pin: {made.vkey}")
    say(f"Next: heyan registry add PARTY.json --desk {desk}")


@app.command
def add(party: Path, *, desk: DeskOption, folder: Path | None = None) -> None:
    """Add a party to the draft.

    PARTY is its entry as JSON: `{"id": "spiffe://heyan/requester/enrol", "name": {"zh": "…", "en": "…"}, "requester":
    {"claims": ["hukou.child_registered@1"], "regions": ["43"], "purposes": ["enrolment"]}}`. A party apart adds its
    public `keys`, and gets its certificate by `heyan registry certificate`.

    Example: `heyan registry add police.json --folder departments/police --desk operator`

    Parameters
    ----------
    party
        File with the party's entry.
    folder
        The party's own folder, if keys and certificate are to be made there.
    """
    opened = Desk.open(desk)
    entry = editing.decode_party(read_public(party))
    with opened.alone():
        if folder is None:
            opened.save(editing.add_party(opened.draft(), entry))
        else:
            entry = opened.enrol(entry, PartyFolder(folder), time.time())
    say(f"{entry.id} is in the draft with {len(entry.keys)} signature key(s).")
    say(f"Next: heyan registry sign --desk {desk}")


@app.command
def certificate(party: str, request: Path, *, desk: DeskOption, out: Path | None = None) -> None:
    """Issue a certificate for a party's certificate request (PKCS#10, P-256).

    Only the request's key counts, and that its owner signed it; the names in the certificate are those of PARTY.
    Make sure that the request comes from that party. It pins the desk's ca.pem besides.

    Example: `heyan registry certificate spiffe://heyan/department/police police.csr --out police.pem --desk operator`

    Parameters
    ----------
    party
        SPIFFE ID of a party in the draft.
    request
        File of the PEM certificate request.
    out
        File to write; without it the certificate goes to standard output.
    """
    pem = Desk.open(desk).certify(party, read_public(request), time.time())
    if out is None:
        sys.stdout.write(pem.decode("ascii"))
        return
    write_atomic(out, pem)
    say(f"The certificate of {party} is in {out}; the party also needs {desk / 'ca.pem'}.")


@app.command
def sign(*, desk: DeskOption, days: int = REGISTRY_LIFETIME // _DAY) -> None:
    """Sign the draft as the next version and publish it as registry.jws.

    Running parties read it within a second or so, where they see the file.

    Example: `heyan registry sign --desk operator`

    Parameters
    ----------
    days
        Days until it expires and new work stops, unless a newer version is signed.
    """
    if not 1 <= days <= _MOST_DAYS:
        raise usage_error("--days", f"must be 1 to {_MOST_DAYS}")
    opened = Desk.open(desk)
    with opened.alone():
        _say_signed(opened, opened.sign(time.time(), days * _DAY))


@app.command
def rotate(
    what: Rotated,
    party: str,
    *,
    desk: DeskOption,
    folder: Path,
    delay: int = START_DELAY,
    overlap: int = OVERLAP,
    algorithm: Algorithm | None = None,
) -> None:
    """Replace a key or certificate of a party, and sign the registry anew; nobody restarts.

    The new file is written into the party's folder. A new signature key begins after `delay`, the old one counts for
    `overlap` longer, and what it signed stays verifiable. An old sealing key opens until its own end; then its
    file is destroyed by a later rotation.

    A log may have a second key, which signs each checkpoint beside the first and outlives Ed25519: `rotate log
    --algorithm ML-DSA-44` makes it, or replaces it, and ends no Ed25519 key.

    Examples: `heyan registry rotate log spiffe://heyan/gateway/main --folder gw --desk operator --algorithm ML-DSA-44`,
    `heyan registry rotate answer spiffe://heyan/department/police --folder departments/police --desk operator`

    Parameters
    ----------
    what
        certificate, sealing, or what the key signs.
    party
        SPIFFE ID of the party.
    folder
        The party's own folder.
    delay
        Seconds until a new key begins: time for all parties to read the new registry.
    overlap
        Seconds for which the old signature key still counts after that.
    algorithm
        ML-DSA-44 for the second key of a log; otherwise the usual one of the key's use.
    """
    opened, place, now = Desk.open(desk), PartyFolder(folder), time.time()
    with opened.alone():
        if what == "certificate":
            opened.renew_certificate(party, place, now)
            say(f"{party} has a new certificate in {place.tls.certificate}; its next connections use it.")
            return  # the registry lists no certificates
        if what == "sealing":
            sealing, destroyed = opened.rotate_sealing_key(party, place, now, delay=delay)
            say(f"{party} opens with {sealing.kid} from {when(sealing.not_before)}.")
            for kid in destroyed:
                say(f"Destroyed the expired {kid}.")
        else:
            key = opened.rotate_signing_key(
                party, KeyUse(what), place, now, delay=delay, overlap=overlap, algorithm=algorithm
            )
            say(f"{party} signs with {key.kid} ({key.alg.value}) from {when(key.not_before)}.")
        _say_signed(opened, opened.sign(now))


@app.command
def compromise(party: str, kid: str, *, desk: DeskOption, at: str) -> None:
    """State that a signature key leaked, and sign the registry anew.

    Nothing signed with it at that time or later counts; what was logged before stays good. It cannot be taken back
    or moved to a later time. Rotate the key first, so that the party can go on.

    Example: `heyan registry compromise spiffe://heyan/gateway/hunan log-20270101-0a1b2c3d
    --at 2027-03-01T08:00:00+08:00 --desk operator`

    Parameters
    ----------
    party
        SPIFFE ID of the key's party.
    kid
        The key, as `heyan registry show` lists it.
    at
        The earliest time at which it may have leaked, ISO 8601 with its offset from UTC.
    """
    opened, now = Desk.open(desk), time.time()
    with opened.alone():
        opened.save(editing.compromise_key(opened.draft(), party, kid, _instant(at), now))
        say(f"{kid} of {party} counts for nothing signed at {at} or later.")
        _say_signed(opened, opened.sign(now))


@app.command
def show(
    *,
    desk: OptionalDesk = None,
    file: Path | None = None,
    vkey: str | None = None,
    as_json: JsonOption = False,
) -> None:
    """Verify the published registry and show its parties and keys.

    Examples: `heyan registry show --desk operator`, `heyan registry show --file registry.jws --vkey "$VKEY" --json`

    Parameters
    ----------
    file
        A registry file to show instead of the desk's.
    vkey
        The operator's verifier key, with which that file must be signed.
    """
    registry, now = _verified(desk, file, vkey), time.time()
    document = registry.document
    expired = now > document.expires
    if as_json:
        shown: dict[str, Any] = {
            "version": registry.version,
            "digest": registry.digest.hex(),
            "expired": expired,
            "document": msgspec.to_builtins(document),
        }
        print_json(shown)
        return
    state = "EXPIRED: heyan registry sign" if expired else "in force"
    say(f"{document.federation}, version {registry.version}, digest {registry.digest.hex()}")
    say(f"Issued {when(document.issued)}, expires {when(document.expires)}: {state}")
    say_parties(registry, now)


def _verified(desk: Path | None, file: Path | None, vkey: str | None) -> Registry:
    if file is not None:
        if vkey is None:
            raise usage_error("--vkey", "is needed with --file: what nobody verified is not shown")
        return open_registry(read_public(file).decode("ascii", errors="replace").strip(), operator_key(vkey))
    if desk is None:
        raise usage_error("--desk", "name the operator's folder, or a file by --file and --vkey")
    published = Desk.open(desk).published()
    if published is None:
        raise usage_error("--desk", f"nothing is published yet: heyan registry sign --desk {desk}")
    return published


def _say_signed(desk: Desk, registry: Registry) -> None:
    say(f"Version {registry.version} is published in {desk.registry_file}; expires {when(registry.document.expires)}.")


def _instant(text: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise usage_error("--at", "must be ISO 8601, e.g. 2027-03-01T08:00:00+08:00") from None
    if parsed.tzinfo is None:
        raise usage_error("--at", "must state its offset from UTC, e.g. +08:00 or Z")
    return int(parsed.timestamp())
