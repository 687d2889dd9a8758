"""Health under overload: fit as long as anything is served, unfit when nothing is, and not back and forth."""

from __future__ import annotations

from gateway.admission.fitness import PATIENCE, RECOVERY, STANDSTILL, Fitness


def test_gateway_that_works_is_fit_however_much_it_refuses() -> None:
    fitness = Fitness()
    assert all(fitness.look(float(now), 0.25, 0.1) is None for now in range(1000))


def test_nobody_having_a_turn_makes_it_unfit() -> None:
    fitness = Fitness()
    assert fitness.look(0.0, PATIENCE, 0.0) is None
    assert fitness.look(1.0, PATIENCE + 0.1, 0.0)


def test_work_of_which_none_ends_makes_it_unfit_but_not_a_department_that_takes_its_time() -> None:
    fitness = Fitness()
    assert fitness.look(0.0, 0.0, 10.0) is None  # a caller's whole deadline
    assert fitness.look(1.0, 0.0, STANDSTILL + 0.1)


def test_it_is_fit_again_only_after_a_while_without_complaint() -> None:
    fitness = Fitness()
    assert fitness.look(0.0, PATIENCE + 1, 0.0)
    assert fitness.look(RECOVERY - 0.1, 0.0, 0.0)
    assert fitness.look(RECOVERY, 0.0, 0.0) is None


def test_complaints_that_come_and_go_do_not_flap() -> None:
    fitness = Fitness()
    said = [fitness.look(float(now), PATIENCE + 1 if now % 4 == 0 else 0.0, 0.0) for now in range(100)]
    assert all(said)
