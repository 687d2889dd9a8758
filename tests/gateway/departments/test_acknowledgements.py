"""Batches are acknowledged once all their statements are logged, also when statements repeat."""

from __future__ import annotations

from gateway.departments.acknowledgements import MAX_OPEN_BATCHES, Acknowledgements
from gateway.departments.port import Acknowledgement
from gateway.protocol.attestation import SignedBatch, StatementProof
from gateway.stores.records import Head


class Port:
    def __init__(self) -> None:
        self.told: list[Acknowledgement] = []

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        self.told.append(acknowledgement)


def head(size: int) -> Head:
    return Head(size, bytes(32), f"tree of {size}")


def batch(name: bytes, *statements: bytes) -> tuple[SignedBatch, list[StatementProof]]:
    proofs = [StatementProof(statement, index, ()) for index, statement in enumerate(statements)]
    return SignedBatch(name, "key", bytes(64)), proofs


def test_batch_waits_for_its_last_statement_and_keeps_the_order() -> None:
    port = Port()
    acknowledgements = Acknowledgements(lambda _: port)  # type: ignore[arg-type, return-value]
    signed, proofs = batch(b"one", b"a", b"b", b"c")
    acknowledgements.expect("node", signed, list(reversed(proofs)))
    acknowledgements.logged({proofs[2].digest: 9}, head(10))
    acknowledgements.logged({proofs[0].digest: 7}, head(10))
    assert port.told == []
    acknowledgements.logged({proofs[1].digest: 8}, head(20))
    assert port.told == [Acknowledgement(signed.digest, (7, 8, 9), "tree of 20")]


def test_repeated_statement_completes_every_batch_that_it_stands_in() -> None:
    port = Port()
    acknowledgements = Acknowledgements(lambda _: port)  # type: ignore[arg-type, return-value]
    first, proofs = batch(b"one", b"a")
    second, again = batch(b"two", b"a", b"b")
    acknowledgements.expect("node", first, proofs)
    acknowledgements.expect("node", second, again)
    acknowledgements.logged({proofs[0].digest: 3}, head(10))
    acknowledgements.logged({again[1].digest: 4}, head(10))
    assert [item.batch_digest for item in port.told] == [first.digest, second.digest]
    assert port.told[1].leaf_indexes == (3, 4)


def test_statement_of_no_open_batch_is_passed_over() -> None:
    acknowledgements = Acknowledgements(lambda _: None)
    acknowledgements.logged({b"unknown": 1}, head(10))


def test_batches_are_bounded_and_the_oldest_is_forgotten() -> None:
    port = Port()
    acknowledgements = Acknowledgements(lambda _: port)  # type: ignore[arg-type, return-value]
    batches = [batch(b"%d" % number, b"statement %d" % number) for number in range(MAX_OPEN_BATCHES + 1)]
    for signed, proofs in batches:
        acknowledgements.expect("node", signed, proofs)
    acknowledgements.logged({batches[0][1][0].digest: 1}, head(10))
    assert port.told == []
    acknowledgements.logged({batches[-1][1][0].digest: 1}, head(10))
    assert len(port.told) == 1


def test_acknowledgement_names_a_checkpoint_that_covers_all_leaves_whatever_was_told_last() -> None:
    port = Port()
    acknowledgements = Acknowledgements(lambda _: port)  # type: ignore[arg-type, return-value]
    signed, proofs = batch(b"one", b"a", b"b")
    acknowledgements.expect("node", signed, proofs)
    acknowledgements.logged({proofs[0].digest: 100}, head(101))
    acknowledgements.logged({proofs[1].digest: 90}, head(95))
    assert port.told == [Acknowledgement(signed.digest, (100, 90), "tree of 101")]
