"""Policies of witnesses: the specification's own example, what a strict reader refuses and where, and what counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.checkpoint import Checkpoint, sign_checkpoint
from gateway.protocol.cosignature import CosignerKey
from gateway.protocol.errors import ForgedError, MalformedError
from gateway.protocol.merkle import MAX_TREE_SIZE
from gateway.protocol.note import ML_DSA_44, SignerKey, VerifierKey, sign_note
from gateway.protocol.policy import MAX_ENTRIES, MAX_POLICY_BYTES, Policy, parse_policy
from gateway.protocol.reasons import Reason

ORIGIN = "heyan.example/log"
LOG = SignerKey.from_seed(ORIGIN, bytes(32))
NEXT = SignerKey.from_seed(ORIGIN, bytes([9]) * 32)
WITNESSES = {
    name: CosignerKey.from_seed(f"witness.example/{name}", bytes([number]) * 32)
    for number, name in enumerate(("X1", "X2", "X3", "Y1", "Y2", "Y3"), start=1)
}
VKEYS = {name: key.verifier.format() for name, key in WITNESSES.items()}
LOG_VKEY = LOG.verifier.format()
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))
EXAMPLE = (
    f"log {LOG_VKEY}\n\n"
    + "".join(f"witness {name} {vkey}\n" for name, vkey in VKEYS.items() if name[0] == "X")
    + "group X-witnesses 2 X1 X2 X3\n\n"
    + "".join(f"witness {name} {vkey} https://{name}.example/\n" for name, vkey in VKEYS.items() if name[0] == "Y")
    + "group Y-witnesses any Y1 Y2 Y3\n\n\tgroup X-and-Y all X-witnesses Y-witnesses \nquorum X-and-Y\n# end\n"
)


def policy_of(text: str) -> Policy:
    return parse_policy(text.encode())


def cosigned(*names: str, log: SignerKey = LOG, time: int = 1_800_000_000) -> bytes:
    return sign_note(CHECKPOINT.encode(), [log, *(WITNESSES[name].at(time) for name in names)]).encode()


# -- quorums ------------------------------------------------------------------------------------------------


def test_example_of_the_specification_is_read_and_written_alike():
    policy = policy_of(EXAMPLE)
    assert [group.threshold for group in policy.groups] == [2, 1, 2]
    assert policy.witnesses[3].url == "https://Y1.example/"
    assert policy_of(policy.format()) == policy


@pytest.mark.parametrize(
    ("names", "met"),
    [
        (("X1", "X2", "Y3"), True),
        (("X1", "X2", "X3", "Y1", "Y2", "Y3"), True),
        (("X1", "X2", "X3"), False),
        (("X1", "Y1", "Y2", "Y3"), False),
        ((), False),
    ],
)
def test_quorum_of_groups_of_groups(names, met):
    judgement = policy_of(EXAMPLE).judge(cosigned(*names))
    assert judgement.is_met is judgement.is_witnessed is met
    assert sorted(each.witness.name for each in judgement.cosigned) == sorted(names)
    assert {each.time for each in judgement.cosigned} <= {1_800_000_000}


def test_a_witness_whose_cosignature_stands_twice_counts_once():
    policy = policy_of(EXAMPLE.replace("quorum X-and-Y", "quorum X-witnesses"))
    once = cosigned("X1")
    line = once.decode().splitlines()[-1]
    later = sign_note(CHECKPOINT.encode(), [WITNESSES["X1"].at(1_800_000_001)]).splitlines()[-1]
    for twice in (f"{once.decode()}{line}\n", f"{once.decode()}{later}\n"):
        judgement = policy.judge(twice.encode())
        assert [each.witness.name for each in judgement.cosigned] == ["X1"]
        assert not judgement.is_witnessed


def test_one_key_under_two_names_is_refused_so_that_it_cannot_be_a_quorum_alone():
    again = VerifierKey.of("other.example", WITNESSES["X1"].verifier.algorithm, WITNESSES["X1"].verifier.public_key)
    refused_at(f"witness a {VKEYS['X1']}\nwitness b {again.format()}\ngroup g all a b\nquorum g\n", 2)


def test_cosignature_of_a_strangers_key_counts_for_nothing():
    policy = policy_of(f"log {LOG_VKEY}\nwitness X1 {VKEYS['X1']}\nquorum X1\n")
    assert not policy.judge(cosigned("X2")).is_witnessed


def test_cosignature_over_another_checkpoint_spoils_the_note():
    policy = policy_of(f"log {LOG_VKEY}\nwitness X1 {VKEYS['X1']}\nquorum X1\n")
    other = sign_checkpoint(Checkpoint(ORIGIN, 8, bytes(32)), [LOG])
    line = sign_note(Checkpoint(ORIGIN, 7, bytes(32)).encode(), [WITNESSES["X1"].at(1)]).splitlines()[-1]
    with pytest.raises(ForgedError) as refusal:
        policy.judge(f"{other}{line}\n".encode())
    assert refusal.value.reason is Reason.SIGNATURE_INVALID


def test_cosignature_without_a_time_counts_for_nothing():
    """It would leave open whether its maker has seen a larger tree."""
    key = CosignerKey.from_seed("pq.example", bytes(32), ML_DSA_44)
    policy = policy_of(f"witness w {key.verifier.format()}\nquorum w\n")
    assert policy.judge(sign_note(CHECKPOINT.encode(), [LOG, key.at(1)]).encode()).is_witnessed
    assert not policy.judge(sign_note(CHECKPOINT.encode(), [LOG, key.at(0)]).encode()).is_witnessed


def test_quorum_of_nobody_accepts_and_calls_nothing_witnessed():
    policy = policy_of(f"log {LOG_VKEY}\nwitness X1 {VKEYS['X1']}\nquorum none\n")
    for note in (cosigned(), cosigned("X1")):
        judgement = policy.judge(note)
        assert judgement.is_accepted
        assert not judgement.is_witnessed


def test_checkpoint_of_another_log_is_not_witnessed_whoever_cosigned_it():
    policy = policy_of(f"log {NEXT.verifier.format()}\nwitness X1 {VKEYS['X1']}\nquorum X1\n")
    judgement = policy.judge(cosigned("X1"))
    assert judgement.is_met
    assert not judgement.is_logged
    assert not judgement.is_witnessed
    # A key of the policy that signs the checkpoint of an origin which is not its name vouches for nothing.
    foreign = Checkpoint("other.example/log", 7, bytes(range(32)))
    note = sign_note(foreign.encode(), [NEXT, WITNESSES["X1"].at(1)])
    assert not policy.judge(note.encode()).is_logged


def test_either_key_of_a_log_that_rotates_will_do():
    policy = policy_of(f"log {LOG_VKEY}\nlog {NEXT.verifier.format()}\nwitness X1 {VKEYS['X1']}\nquorum X1\n")
    for log in (LOG, NEXT):
        assert policy.judge(cosigned("X1", log=log)).is_witnessed


@given(st.sets(st.sampled_from(sorted(WITNESSES))), st.integers(1, 6))
def test_a_group_is_met_by_its_threshold_and_no_less(names, threshold):
    lines = "".join(f"witness {name} {vkey}\n" for name, vkey in VKEYS.items())
    policy = policy_of(f"{lines}group g {threshold} {' '.join(VKEYS)}\nquorum g\n")
    assert policy.is_met_by(names) is (len(names) >= threshold)
    assert policy.is_met_by([*names, *names, "g", "nobody"]) is (len(names) >= threshold)


# -- reading ------------------------------------------------------------------------------------------------


def refused_at(text: str | bytes, line: int) -> None:
    with pytest.raises(MalformedError) as refusal:
        parse_policy(text if isinstance(text, bytes) else text.encode())
    assert refusal.value.reason is Reason.CONFIGURATION_INVALID
    (violation,) = refusal.value.violations
    assert violation.field == f"line {line}"
    assert " / " in violation.description  # both languages


A, B = f"witness a {VKEYS['X1']}\n", f"witness b {VKEYS['X2']}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        (A, 1),
        (A + "quorum a", 2),
        (A + "quorum a\nquorum a\n", 3),
        (A + "quorum b\n", 2),
        ("quorum a\n" + A, 1),
        (A + "quorum none a\n", 2),
        ("witness none " + VKEYS["X1"] + "\nquorum none\n", 1),
        (A + "witness a " + VKEYS["X2"] + "\nquorum none\n", 2),
        (A + "witness b " + VKEYS["X1"] + "\nquorum none\n", 2),
        ("witness a " + LOG_VKEY + "\nquorum a\n", 1),
        ("log " + VKEYS["X1"] + "\nquorum none\n", 1),
        ("log " + LOG_VKEY + "\nlog " + LOG_VKEY + "\nquorum none\n", 2),
        ("log\nquorum none\n", 1),
        ("log " + LOG_VKEY + " https://a b\nquorum none\n", 1),
        ("log " + LOG_VKEY[:-4] + "\nquorum none\n", 1),
        (A + "group g any\nquorum g\n", 2),
        (A + "group g 0 a\nquorum g\n", 2),
        (A + "group g 2 a\nquorum g\n", 2),
        (A + "group g 01 a\nquorum g\n", 2),
        (A + "group g +1 a\nquorum g\n", 2),
        (A + "group g most a\nquorum g\n", 2),
        (A + "group g any a a\nquorum g\n", 2),
        (A + "group g any none\nquorum g\n", 2),
        (A + "group g any g\nquorum g\n", 2),
        (A + B + "group g any a\ngroup h all a b\nquorum h\n", 4),
        (A + "group h any g\ngroup g any a\nquorum h\n", 2),
        (A + "group a any a\nquorum a\n", 2),
        ("Quorum none\n", 1),
        ("quorum none\r\n", 1),
        ("quorum\u00a0none\n", 1),
        ("# \x07\nquorum none\n", 1),
        (b"# \x7f\nquorum none\n", 1),
        (b"quorum none\n\0\n", 2),
    ],
)
def test_wrong_line_is_refused_by_its_number(text, line):
    refused_at(text, line)


def test_refusal_repeats_nothing_of_the_file():
    with pytest.raises(MalformedError) as refusal:
        policy_of("witness \x1b[2Jsecret nonsense\nquorum none\n")
    assert "secret" not in str(refusal.value)


def test_names_are_octets():
    """The Kelvin sign is not the letter K, and what is no UTF-8 at all is a name too."""
    text = (
        f"witness K {VKEYS['X1']}\nwitness \u212a {VKEYS['X2']}\n".encode()
        + b"witness \xff\xfe %s\n" % VKEYS["X3"].encode()
    )
    policy = parse_policy(text + b"group g 3 K \xe2\x84\xaa \xff\xfe\nquorum g\n")
    assert len({witness.name for witness in policy.witnesses}) == 3
    assert parse_policy(policy.format().encode("utf-8", errors="surrogateescape")) == policy
    refused_at(text + b"group g any \xff\nquorum g\n", 4)


def test_policy_is_bounded():
    refused_at("#" * MAX_POLICY_BYTES + "\n", 1)
    many = [SignerKey.from_seed(f"log.example/{number}", bytes([number]) * 32) for number in range(MAX_ENTRIES + 1)]
    lines = [f"log {key.verifier.format()}\n" for key in many]
    assert len(policy_of("".join(lines[:-1]) + "quorum none\n").logs) == MAX_ENTRIES
    refused_at("".join(lines) + "quorum none\n", MAX_ENTRIES + 1)


def test_deep_groups_are_judged_without_recursion():
    groups = "".join(f"group g{number} any g{number - 1}\n" for number in range(1, MAX_ENTRIES))
    policy = policy_of(f"{A}group g0 any a\n{groups}quorum g{MAX_ENTRIES - 1}\n")
    assert policy.is_met_by(["a"])
    assert not policy.is_met_by([])


@given(st.binary(max_size=200))
def test_any_octets_are_a_policy_or_refused(data):
    try:
        policy = parse_policy(data)
    except MalformedError:
        return
    assert parse_policy(policy.format().encode("utf-8", errors="surrogateescape")) == policy


def test_largest_tree_is_judged_too():
    policy = policy_of(f"log {LOG_VKEY}\nwitness X1 {VKEYS['X1']}\nquorum X1\n")
    text = Checkpoint(ORIGIN, MAX_TREE_SIZE, bytes(32)).encode()
    assert policy.judge(sign_note(text, [LOG, WITNESSES["X1"].at(2**63 - 1)]).encode()).is_witnessed
