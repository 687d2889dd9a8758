"""Which log a command reads, and whom it believes: options that fsck, monitor, export and search share.

    heyan log … URL|DIR --vkey KEY …           a log anywhere, its keys pinned by whoever reads it
    heyan log … --dir run --auditor auditor    a federation's, its keys from the registry that its operator signs

Both together read a copy (URL or DIR) of that federation's log. What a source brings is verified by the command.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

from cyclopts import Parameter

from gateway.cli.endpoints import open_auditor, read_endpoints
from gateway.cli.options import usage_error
from gateway.party.config import TlsFiles
from gateway.party.keyfiles import read_public, unusable
from gateway.party.tls import client_ssl_context, load_material
from gateway.protocol.checkpoint import Checkpoint, open_checkpoint
from gateway.protocol.errors import MalformedError
from gateway.protocol.identities import Identity, PartyRole
from gateway.protocol.log_keys import proof_verifiers
from gateway.protocol.note import VerifierKey
from gateway.protocol.registry_terms import GatewayTerms
from gateway.static_log.tile_source import FolderSource, HttpSource

LogPlace: TypeAlias = Annotated[str | None, Parameter(help="URL (https://…) or folder of a static log.")]
"""The positional argument of a command that reads a log."""


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Flattened into a command's options: `log: Annotated[LogOptions, Parameter(name="*")] = NO_OPTIONS`."""

    folder: Annotated[
        Path | None, Parameter(name="--dir", help="A running federation's folder, for its log, keys and certificates.")
    ] = None
    auditor: Annotated[str, Parameter(name="--auditor", help="Who reads, an auditor's id of endpoints.json.")] = (
        "auditor"
    )
    vkeys: Annotated[
        tuple[str, ...],
        Parameter(
            name="--vkey",
            negative="",
            help="The log's verifier key, which you pin; repeat it for a second key, then for witnesses.",
        ),
    ] = ()
    origin: Annotated[
        str | None,
        Parameter(name="--origin", help="Which log of the federation, by its origin; if left out, the newest."),
    ] = None
    ca: Annotated[
        Path | None, Parameter(name="--ca", help="Certificate authority (PEM) of the URL; the system's if left out.")
    ] = None
    certificate: Annotated[
        Path | None, Parameter(name="--cert", help="An auditor's certificate (PEM), for the entries of a URL.")
    ] = None
    key: Annotated[Path | None, Parameter(name="--key", help="The certificate's key (PEM, mode 0600).")] = None


NO_OPTIONS = LogOptions()
"""Nothing given."""

Options: TypeAlias = Annotated[LogOptions, Parameter(name="*")]
"""The parameter of a command that reads a log."""


class Verifiers(Protocol):
    """The keys by which a checkpoint counts; asked each time, since keys rotate while a command runs."""

    def __call__(self, leaf_time: float = 0.0) -> tuple[VerifierKey, ...]:
        """Those that may prove a leaf of `leaf_time` (seconds), the newest there is; see `proof_verifiers`."""
        ...


@dataclass(frozen=True, slots=True)
class OpenedLog:
    """A log to read: enter `source` to connect. `gateways` may write to it (SPIFFE IDs); empty if nobody knows."""

    source: FolderSource | HttpSource
    origin: str
    verifiers: Verifiers
    place: str = field(compare=False)
    """What to call it in what is printed."""
    gateways: frozenset[str] = frozenset()

    def open(self, note: bytes) -> Checkpoint:
        """The verified checkpoint of a note; BadDataError."""
        return open_checkpoint(note, self.verifiers(), self.origin)


def open_log(place: str | None, options: LogOptions) -> OpenedLog:
    """What the words of the command line name; MalformedError (CONFIGURATION_INVALID) that says what is missing."""
    if options.folder is not None:
        return _of_federation(place, options.folder, options)
    if place is None:
        raise usage_error("URL|DIR", "or --dir must say which log")
    if options.origin is not None:
        raise usage_error("--origin", "goes with --dir: a key that is pinned names its log")
    if not options.vkeys:
        raise usage_error("--vkey", "or --dir must say whose signature to believe")
    keys = tuple(map(_vkey, options.vkeys))
    source = open_source(place, options)

    def verifiers(leaf_time: float = 0.0) -> tuple[VerifierKey, ...]:  # noqa: ARG001 - pinned keys count at any time
        return keys

    return OpenedLog(source, keys[0].name, verifiers, place)


def open_source(place: str, options: LogOptions) -> FolderSource | HttpSource:
    """The source in a folder or at a URL, whom to trust and what to show there by the options."""
    return FolderSource(Path(place)) if not _is_url(place) else HttpSource(place, _context(options))


def _of_federation(place: str | None, folder: Path, options: LogOptions) -> OpenedLog:
    auditor, endpoints = open_auditor(folder, options.auditor), read_endpoints(folder)
    terms = auditor.registry().party(auditor.gateway.uri).gateway
    if terms is None:
        raise usage_error("--dir", "the registry does not know its gateway as one")
    pinned = tuple(map(_vkey, options.vkeys))
    origin = options.origin or (pinned[0].name if pinned else terms.log_origin)
    if options.origin is not None and options.origin not in terms.origins:
        raise usage_error("--origin", f"must be one of {', '.join(terms.origins)}")

    def verifiers(leaf_time: float = 0.0) -> tuple[VerifierKey, ...]:
        return pinned or proof_verifiers(auditor.registry(), auditor.gateway.uri, origin, leaf_time)

    gateways = frozenset({auditor.gateway.uri})
    own_url = _url_of(endpoints.gateway.log_url, terms, origin)
    place = place if place is not None else own_url
    if place is None:
        raise usage_error("--dir", f"{folder} serves no static log: start it anew with heyan up {folder}")
    if not _is_url(place):
        return OpenedLog(FolderSource(Path(place)), origin, verifiers, place, gateways)
    files = endpoints.auditors[options.auditor]
    tls = TlsFiles(certificate=folder / files.cert, key=folder / files.key, ca=folder / endpoints.ca)
    own = place in (own_url, endpoints.gateway.log_url)
    name = Identity(PartyRole.GATEWAY, endpoints.gateway.id).dns_name if own else None
    context = client_ssl_context(load_material(tls)) if own else _context(options)
    return OpenedLog(HttpSource(place, context, server_name=name), origin, verifiers, place, gateways)


def _url_of(url: str | None, terms: GatewayTerms, origin: str) -> str | None:
    """Where the gateway that serves one of its logs at a URL serves another: below the same, by its number."""
    if url is None or origin not in terms.origins:
        return url
    return f"{url.rpartition('/')[0]}/{terms.origins.index(origin)}"


def _is_url(place: str) -> bool:
    if place.startswith("http://"):
        raise usage_error("URL", "must be https://: what is read unencrypted may be kept back by anyone on the way")
    if place.startswith("https://") and "@" in place.partition("://")[2].partition("/")[0]:
        raise usage_error("URL", "must not hold a user or a password: it is printed; a certificate says who reads")
    return place.startswith("https://")


def _vkey(text: str) -> VerifierKey:
    try:
        return VerifierKey.parse(text.strip())
    except MalformedError as error:
        raise usage_error("--vkey", error.detail.removeprefix("vkey: ")) from None


def _context(options: LogOptions) -> ssl.SSLContext:
    """Whom to trust at a URL, and with what to show who reads."""
    context = ssl.create_default_context()
    if options.ca is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust_authority(context, options.ca)
    if (options.certificate is None) != (options.key is None):
        raise usage_error("--cert", "and --key belong together")
    if options.certificate is not None and options.key is not None:
        try:
            context.load_cert_chain(options.certificate, options.key)
        except (ssl.SSLError, OSError):
            raise unusable(options.certificate, f"and {options.key} must be a certificate and its key") from None
    return context


def trust_authority(context: ssl.SSLContext, file: Path) -> None:
    """Trust the authorities of a PEM file too; MalformedError (CONFIGURATION_INVALID) if it holds none."""
    try:
        context.load_verify_locations(cadata=read_public(file).decode("ascii", errors="replace"))
    except (ssl.SSLError, ValueError):
        raise unusable(file, "must be PEM certificates") from None
