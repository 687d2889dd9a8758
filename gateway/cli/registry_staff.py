"""`heyan registry staff|retire`: the keys with which a requester's staff sign what they found on paper."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gateway.cli.options import DeskOption
from gateway.operator import document as editing
from gateway.operator.desk import Desk
from gateway.operator.enrolment import PartyFolder
from gateway.protocol.errors import MalformedError
from gateway.protocol.keys import Algorithm
from gateway.protocol.reasons import Reason
from gateway.protocol.registry_terms import KeyUse


def staff(party: str, member: str, *, desk: DeskOption, folder: Path) -> None:
    """Make a key for a member of a requester's staff, and sign the registry anew.

    With it the member signs the results of offline tickets. Its id begins with staff-MEMBER and stands in every receipt
    that holds such a result. Hand the file to the member, and leave no copy.

    Example: `heyan registry staff spiffe://heyan/requester/enrol 0042 --folder requesters/enrol --desk operator`

    Parameters
    ----------
    party
        SPIFFE ID of the requester.
    member
        A staff number, a-z and 0-9: no name.
    folder
        The requester's own folder; the key goes to its folder staff.
    """
    opened, place, now = Desk.open(desk), PartyFolder(folder), time.time()
    with opened.alone():
        key = opened.add_staff_key(party, member, place, now)
        _say(f"{key.kid} counts for {party}; its file is {place.staff / key.kid}.pem.")
        _say(f"Version {opened.sign(now).version} is published in {opened.registry_file}.")


def retire(party: str, kid: str, *, desk: DeskOption) -> None:
    """End a signature key now, and sign the registry anew: a staff member has left, or a rotation is over.

    What it signed until now stays good. If it leaked, state that by `heyan registry compromise`.

    Example: `heyan registry retire spiffe://heyan/requester/enrol staff-0042-20270101-0a1b2c3d --desk operator`

    Parameters
    ----------
    party
        SPIFFE ID of the key's party.
    kid
        The key, as `heyan registry show` lists it.
    """
    opened, now = Desk.open(desk), time.time()
    with opened.alone():
        draft = editing.retire_key(opened.draft(), party, kid, int(now), now)
        keys = editing.find_party(draft, party).keys
        ended = next(key for key in keys if key.kid == kid)
        use, needed = ended.use, ended.use is not KeyUse.STAFF and ended.alg is not Algorithm.ML_DSA_44
        left = [key for key in keys if (key.use, key.alg) == (use, ended.alg) and key.counts_at(now + 1)]
        if needed and not left:
            raise MalformedError.at(
                "KID", f"is the only {use.value} key of {party} that counts: rotate it", Reason.CONFIGURATION_INVALID
            )
        opened.save(draft)
        _say(f"{kid} of {party} counts no more.")
        _say(f"Version {opened.sign(now).version} is published in {opened.registry_file}.")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
