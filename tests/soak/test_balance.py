"""The books find what is wrong, and take for explained only what a fault may have cost."""

import pytest

from tests.faults.load import Answer, Request

from .balance import OF_ITS_FILE, Loss, balance
from .bounds import Window

KEY, ENDPOINT = "the key", "/v1/orders/3"
IDS = {KEY: 7}
ACCOUNT = (7, ENDPOINT)
KILLED = Loss("with its worker", Window(10.0, 11.0), frozenset({429}))


def answer(status, at=0.0, unheard=0):
    return Answer(at, 0.0, status, None, Request(KEY, ENDPOINT), unheard)


def test_as_many_rows_as_answers():
    found = balance([answer(200), answer(429), answer(503), answer(None)], IDS, {ACCOUNT: 2}, [], {})
    assert (found.answered, found.rows, found.lost, found.unexplained) == (2, 2, {}, ())


@pytest.mark.parametrize(
    ("rows", "told"), [(1, "1 rows lack unexplained"), (3, "1 rows too many unexplained")]
)
def test_a_row_that_nothing_explains_is_told(rows, told):
    found = balance([answer(200), answer(200)], IDS, {ACCOUNT: rows}, [], {})
    assert found.unexplained == (f"key 7 at {ENDPOINT}: 2 answered, {rows} in the log, {told}",)


def test_one_key_does_not_make_up_for_another():
    answers = [answer(200), Answer(0.0, 0.0, 200, None, Request("other", ENDPOINT))]
    found = balance(answers, IDS | {"other": 8}, {ACCOUNT: 2}, [], {})
    assert (found.answered, found.rows) == (2, 2)
    assert len(found.unexplained) == 2


def test_a_fault_explains_no_more_than_was_answered_in_its_window():
    answers = [answer(429, at=10.5), answer(200, at=10.6), answer(429, at=12.0)]
    assert balance(answers, IDS, {ACCOUNT: 2}, [KILLED], {}).lost == {"with its worker": 1}
    found = balance(answers, IDS, {ACCOUNT: 1}, [KILLED], {})
    assert found.lost == {"with its worker": 1}
    assert len(found.unexplained) == 1


def test_what_stood_in_the_file_of_an_emptied_redis_is_lost_and_no_more():
    answers = [answer(200), answer(200)]
    assert balance(answers, IDS, {ACCOUNT: 1}, [], {ACCOUNT: 1}).lost == {OF_ITS_FILE: 1}
    assert len(balance(answers, IDS, {}, [], {ACCOUNT: 1}).unexplained) == 1


def test_what_was_asked_without_an_answer_may_have_a_row():
    answers = [answer(200, unheard=1), answer(None, unheard=1)]
    for rows, surplus in ((1, 0), (2, 1), (3, 2)):
        found = balance(answers, IDS, {ACCOUNT: rows}, [], {})
        assert (found.recorded_without_answer, found.unexplained) == (surplus, ())
    assert len(balance(answers, IDS, {ACCOUNT: 4}, [], {}).unexplained) == 1


def test_refusals_are_booked_where_their_rows_stand():
    found = balance([answer(403), answer(None, unheard=1)], IDS, {(7, "/api/request"): 2}, [], {})
    assert (found.recorded_without_answer, found.unexplained) == (1, ())


def test_looks_and_unknown_keys_have_no_row():
    look = Answer(0.0, 0.0, 200, None, Request(KEY, method="GET", path="/api/check"))
    unknown = Answer(0.0, 0.0, 401, None, Request("nobody's"))
    assert balance([look, unknown], IDS, {}, [], {}).answered == 0
