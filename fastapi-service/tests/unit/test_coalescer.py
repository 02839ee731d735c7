import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ratelimiter.request_log import coalescer
from ratelimiter.request_log.coalescer import SINGLE_RECORDS, Coalescer


class Stream:
    """What a coalescer appends."""

    def __init__(self):
        self.records = []

    def append(self, subject, record, outcome):
        known, _, rest = record.partition(b"%")
        decision_id, _, endpoint = rest.partition(b" ")
        assert int(decision_id, 16) > 0, "every decision has an id"
        self.records.append((subject, known + b" " + endpoint, outcome))

    def denials(self):
        """How many denials the records stand for, by what they say."""
        counts = Counter()
        for _, record, outcome in self.records:
            count = outcome.split(b" ")[2:] or [b"1"]
            counts[record] += int(count[0])
        return counts


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["/a", "/b c"])), max_size=200))
async def test_the_counts_are_exact(denied):
    stream = Stream()
    coalescer = Coalescer(stream.append)
    for key, endpoint in denied:
        coalescer.add(key, key, endpoint, 1, 0, "198.51.100.7")
    coalescer.flush()
    expected = Counter(f"{key} 1 198.51.100.7 {endpoint}".encode() for key, endpoint in denied)
    assert stream.denials() == expected
    assert len(stream.records) <= (SINGLE_RECORDS + 1) * len(expected)


async def test_few_have_a_record_each_at_once():
    stream = Stream()
    coalescer = Coalescer(stream.append)
    for _ in range(SINGLE_RECORDS):
        coalescer.add(7, 8, "/x", 2, 1, None)
    assert stream.records == [(7, b"8 2 - /x", b"429 1")] * SINGLE_RECORDS
    coalescer.flush()
    assert len(stream.records) == SINGLE_RECORDS


async def test_of_many_the_last_stands_for_the_rest_once_the_second_is_over(monkeypatch):
    monkeypatch.setattr(coalescer, "WINDOW_SECONDS", 0.01)
    stream = Stream()
    coalesced = Coalescer(stream.append)
    for cost in range(1, 100):
        coalesced.add(7, 8, "/x", cost, 0, "198.51.100.7")
    await asyncio.sleep(0.1)
    assert stream.records[SINGLE_RECORDS:] == [(7, b"8 99 198.51.100.7 /x", b"429 0 89")]


async def test_a_denial_by_a_plan_names_its_limits_alone_or_with_others():
    stream = Stream()
    coalesced = Coalescer(stream.append)
    for _ in range(SINGLE_RECORDS + 5):
        coalesced.add(7, 8, "/x", 1, 0, None, b" +minute ~tried")
    coalesced.flush()
    outcomes = [outcome for _, _, outcome in stream.records]
    assert outcomes == [b"429 0 +minute ~tried"] * SINGLE_RECORDS + [b"429 0 5 +minute ~tried"]


async def test_while_a_flood_lasts_a_second_has_one_record(monkeypatch):
    monkeypatch.setattr(coalescer, "WINDOW_SECONDS", 0.2)
    stream = Stream()
    coalesced = Coalescer(stream.append)
    for _ in range(SINGLE_RECORDS + 5):
        coalesced.add(7, 8, "/x", 1, 0, None)
    await asyncio.sleep(0.25)
    del stream.records[:]
    for _ in range(SINGLE_RECORDS + 5):
        coalesced.add(7, 8, "/x", 1, 0, None)
    assert stream.records == []
    await asyncio.sleep(0.25)
    assert stream.records == [(7, b"8 1 - /x", b"429 0 15")]
    coalesced.flush()


async def test_a_second_with_few_ends_the_flood(monkeypatch):
    monkeypatch.setattr(coalescer, "WINDOW_SECONDS", 0.01)
    stream = Stream()
    coalesced = Coalescer(stream.append)
    for _ in range(SINGLE_RECORDS + 1):
        coalesced.add(7, 8, "/x", 1, 0, None)
    await asyncio.sleep(0.1)
    coalesced.add(7, 8, "/x", 3, 0, None)
    assert stream.records[-1] == (7, b"8 3 - /x", b"429 0"), "a record of its own again"
    assert not coalesced._windows or coalesced._timer is not None
    await asyncio.sleep(0.1)
    assert not coalesced._windows
    assert coalesced._timer is None


async def test_its_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(coalescer, "MAX_WINDOWS", 4)
    stream = Stream()
    coalesced = Coalescer(stream.append)
    for number in range(50):
        for _ in range(SINGLE_RECORDS + 5):
            coalesced.add(1, 1, f"/{number}", 1, 0, None)
        assert len(coalesced._windows) <= 4
    coalesced.flush()
    assert stream.denials().total() == 50 * (SINGLE_RECORDS + 5)
