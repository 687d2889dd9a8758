"""The command line, and with it the composition root: the one place that may import every package.

A command raises domain errors; `main` turns each into one line on standard error and an exit code:

    0  done            1  refused or found wrong        2  usage or configuration
    3  unreachable or overloaded: try again             4  measured, but inconclusive
    130  interrupted (Ctrl-C)

Tracebacks appear only with `--debug`. Commands are imported when they are called.
"""

from __future__ import annotations

import io
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from itertools import takewhile

from cyclopts import App, CycloptsError

from gateway.cli.exit_codes import EXIT_INTERRUPTED, EXIT_REFUSED, EXIT_UNREACHABLE, EXIT_USAGE
from gateway.cli.printing import printable
from gateway.party.process import configure_logging
from gateway.protocol.errors import HeyanError, UnreachableError
from gateway.protocol.reason_texts import text_of
from gateway.protocol.reasons import Reason

app = App(
    name="heyan",
    help=(
        "Heyan (核验): ask a government office a yes/no question about a person, with the person's consent, "
        "and prove afterwards what was asked.\n\n"
        "Start with `heyan demo`. Exit codes: 0 done, 1 refused or found wrong, 2 usage or configuration, "
        "3 unreachable: try again, 4 measured, but inconclusive. `--debug` shows tracebacks."
    ),
    help_format="markdown",
    version=lambda: version("heyan"),
)
for _name, _target, _help in (
    ("demo", "gateway.cli.demo:demo", "Start a federation, send applications, check everything, stop."),
    ("up", "gateway.cli.up:up", "Run a federation of fictional people until Ctrl-C."),
    ("verify", "gateway.cli.verify:verify", "Ask one application or a batch, and check every receipt."),
    ("offline", "gateway.cli.offline:app", "Verify on paper (线下核验) what could not be told online, and only that."),
    ("consent", "gateway.cli.consent:app", "Issue, inspect and revoke consents; dispute an answer; serve an issuer."),
    (
        "dispute",
        "gateway.cli.dispute:app",
        "Dispute an answer, see what became of it, and ask again once it is corrected.",
    ),
    ("log", "gateway.cli.log:app", "Check receipts and whole logs; copy, follow and witness logs."),
    ("audit", "gateway.cli.audit:app", "Assess a gateway from its log: counties, departments, completeness."),
    ("registry", "gateway.cli.registry:app", "Run the operator's desk: parties, keys, certificates."),
    ("season", "gateway.cli.season:app", "Plan the enrolment season, and rehearse its opening morning."),
    ("rules", "gateway.cli.rules:app", "Check, show and compare rule packs; render a county's guide."),
    ("doctor", "gateway.cli.doctor:doctor", "Find what is wrong, and what to do about it."),
    (
        "gateway",
        "gateway.cli.serve:gateway",
        "Serve a gateway; back it up and restore it; erase evidence, rotate keys.",
    ),
    ("department", "gateway.cli.department:app", "Serve a department node; work off its disputes; break a sandbox's."),
):
    app.command(_target, name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Chinese shows question marks, not an error
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    if debug:
        tokens.remove("--debug")
    sys.exit(_run(tokens, debug=debug))


def _run(tokens: list[str], *, debug: bool) -> int:
    configure_logging("warning")
    try:
        words = takewhile(lambda token: not token.startswith("-"), tokens)
        _, [*_, command], _ = app.parse_commands(list(words))
        if command.default_command is not None and "\n" not in command.help:  # one that is longer is the command's own
            command.help = None  # its docstring, with examples, not the line of the list
        outcome = app(tokens, exit_on_error=False, print_error=True, result_action="return_value")
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone; nothing is left to say
        return 0
    except Exception as error:  # noqa: BLE001 - whatever happened becomes one line and an exit code
        if debug:
            traceback.print_exception(error)
        return _explain(error)
    return outcome if isinstance(outcome, int) else 0


def _explain(error: Exception) -> int:
    """Say on one line what happened and what to do; the exit code."""
    if isinstance(error, HeyanError):
        line, code = describe(error), exit_code_of(error)
    elif isinstance(error, CycloptsError):
        return EXIT_USAGE  # cyclopts has printed what is wrong
    elif isinstance(error, OSError):
        line, code = f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}", EXIT_USAGE
    else:
        line = f"internal error ({type(error).__name__}); run again with --debug and report it"
        code = EXIT_REFUSED
    sys.stderr.write(f"heyan: {printable(line)}\n")
    return code


def describe(error: HeyanError) -> str:
    """One line that says what happened and what to do, in both languages where it has a text of its own."""
    if error.violations:
        where = "; ".join(f"{violation.field} {violation.description}" for violation in error.violations)
        return f"{where} [{error.reason.value}]"
    if error.text is not None:
        return f"{error.text.en} {error.text.zh} [{error.reason.value}]"
    text, detail = text_of(error.reason), f" ({error.detail})" if error.detail else ""
    return f"{text.en}{detail} {text.zh} [{error.reason.value}]"


def exit_code_of(error: HeyanError) -> int:
    """The exit code of a domain error."""
    if isinstance(error, UnreachableError):
        return EXIT_UNREACHABLE
    if error.reason in (Reason.CONFIGURATION_INVALID, Reason.IDENTIFIER_MALFORMED):
        return EXIT_USAGE
    return EXIT_REFUSED
