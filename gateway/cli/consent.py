"""`heyan consent`: the issuer's process, and a sandbox family's consent: give it, look at it, withdraw it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from cyclopts import App

from consent.consent_file import ConsentFile, GrantConsent, read_consent_file, write_consent_file
from consent.disclosures import Authorization
from gateway.cli.json_output import print_json
from gateway.cli.options import JsonOption, RequiredFolder, require_writable

app = App(name="consent")
app.command("gateway.cli.consent_dispute:dispute", name="dispute", help="Dispute an answer about a sandbox family.")


@app.command
def serve(*, config: Path) -> None:
    """Serve a consent issuer until SIGTERM or Ctrl-C.

    Example: `heyan consent serve --config run/consent/settings.toml`

    Parameters
    ----------
    config
        TOML file with the issuer's settings.
    """
    from consent.issuer.config import IssuerConfig  # noqa: PLC0415 - only this command runs an issuer
    from consent.issuer.server import serve as serve_issuer  # noqa: PLC0415
    from gateway.party.process import begin, run_until_signal  # noqa: PLC0415

    settings = IssuerConfig.from_file(config)
    begin(settings)
    run_until_signal(lambda stop: serve_issuer(settings, stop))


@app.command
def issue(*, folder: RequiredFolder, family: str, requester: str, out: Path) -> None:
    """Have a sandbox family consent to its application, with its passkeys; write the private consent file (0600).

    Example: `heyan consent issue --dir run --family F000001 --requester edu-4301 --out consent.json`

    Parameters
    ----------
    folder
        A running federation's folder.
    family
        A family of truth.jsonl.
    requester
        The education system that may ask.
    out
        File to write. It names persons: keep it private.
    """
    from gateway.cli.guardians import Guardians, find_family  # noqa: PLC0415 - only this command needs a sandbox

    require_writable(out, "--out")
    application = find_family(folder, family).application

    async def run() -> ConsentFile:
        async with Guardians(folder) as guardians:
            return await guardians.consent(application, requester)

    consent = asyncio.run(run())
    write_consent_file(out, consent)
    sys.stdout.write(f"{len(consent.grants)} grant(s) written to {out} (mode 0600; it names persons)\n")


@app.command
def inspect(file: Path, *, as_json: JsonOption = False) -> None:
    """Show what a consent file allows: who may ask what, for what, until when. Names no person.

    Signatures are not verified here; the gateway and every department do that.

    Example: `heyan consent inspect consent.json`

    Parameters
    ----------
    file
        A consent file.
    """
    rows = [_describe(grant) for grant in read_consent_file(file).grants]
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    for row in rows:
        sys.stdout.write(
            f"grant {row.jti} by the {row.actor}\n"
            f"  issuer    {row.issuer}\n"
            f"  requester {row.requester}\n"
            f"  from {row.not_before} to {row.expires}, assurance {row.assurance}\n"
        )
        for element in row.authorizations:
            sys.stdout.write(
                f"  allows {', '.join(element.claims)}\n"
                f"    in {', '.join(element.regions)} for {element.purpose}, {element.max_uses} uses\n"
            )


@app.command
def revoke(file: Path, *, folder: RequiredFolder, family: str) -> None:
    """Withdraw a sandbox family's consent. Gateway and departments honour it within 5 seconds.

    Example: `heyan consent revoke consent.json --dir run --family F000001`

    Parameters
    ----------
    file
        The consent file.
    folder
        A running federation's folder.
    family
        The family whose consent it is: its passkeys approve the withdrawal.
    """
    from gateway.cli.guardians import Guardians  # noqa: PLC0415 - only this command needs a sandbox

    consent = read_consent_file(file)

    async def run() -> int:
        async with Guardians(folder) as guardians:
            return await guardians.withdraw(family, consent)

    sys.stdout.write(f"{asyncio.run(run())} grant(s) withdrawn\n")


@dataclass(frozen=True, slots=True)
class _GrantRow:
    """What of a grant is shown: nothing by which a person could be told."""

    jti: str
    actor: str
    issuer: str
    requester: str
    not_before: str
    expires: str
    assurance: str
    authorizations: tuple[Authorization, ...]


def _describe(grant: GrantConsent) -> _GrantRow:
    claims = grant.claims
    return _GrantRow(
        claims.jti,
        claims.actor.value,
        claims.iss,
        claims.aud,
        datetime.fromtimestamp(claims.nbf, UTC).isoformat(),
        datetime.fromtimestamp(claims.exp, UTC).isoformat(),
        claims.acr.value,
        grant.authorizations,
    )
