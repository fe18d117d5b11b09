"""When a group counts as standing still, and what its positions say."""

from aiokafka import TopicPartition

from facepass.streams.kafka.group_offsets import PartitionOffsets
from facepass.streams.process.watchdog import Standstill

A, B = TopicPartition("photos", 0), TopicPartition("photos", 1)


def at(committed: int | None, end: int = 100, begin: int = 0) -> PartitionOffsets:
    return PartitionOffsets(begin=begin, committed=committed, end=end)


def test_lag_counts_what_the_topic_still_holds() -> None:
    assert [at(None).lag, at(40).lag, at(100).lag, at(500).lag, at(10, begin=30).lag] == [100, 60, 0, 0, 70]
    assert [at(None, begin=30).dropped, at(10, begin=30).dropped, at(30, begin=30).dropped] == [0, 20, 0]
    assert [at(None).beyond_end, at(100).beyond_end, at(101).beyond_end] == [False, False, True]


def test_time_counts_only_with_lag_and_without_progress() -> None:
    standstill = Standstill()
    assert standstill.look({A: at(1)}, 5) == {"photos": A}
    assert standstill.seconds(A) == 0, "the first look has seen nothing yet"
    standstill.look({A: at(1)}, 5)
    standstill.look({A: at(1)}, 5)
    assert standstill.seconds(A) == 10
    standstill.look({A: at(2)}, 5)
    assert standstill.seconds(A) == 0, "it moved"
    standstill.look({A: at(2)}, 5)
    assert standstill.look({A: at(2, end=2)}, 5) == {}
    assert standstill.seconds(A) == 0, "nothing is before it"


def test_a_group_that_never_committed_can_stand_still() -> None:
    standstill = Standstill()
    for _ in range(3):
        standstill.look({A: at(None)}, 5)
    assert standstill.seconds(A) == 10


def test_a_topic_stands_still_only_as_long_as_all_of_its_lagging_partitions_do() -> None:
    standstill = Standstill()
    for moved in (1, 2, 3):
        newest = standstill.look({A: at(7), B: at(moved)}, 5)
    assert newest == {"photos": B}
    assert (standstill.seconds(A), standstill.seconds(B)) == (10, 0)
    assert standstill.look({A: at(7), B: at(100)}, 5) == {"photos": A}, "the others have come to their ends"


def test_an_excuse_begins_anew() -> None:
    standstill = Standstill()
    for _ in range(3):
        standstill.look({A: at(7)}, 5)
    standstill.excuse()
    standstill.look({A: at(7)}, 5)
    assert standstill.seconds(A) == 0
    standstill.look({A: at(7)}, 5)
    assert standstill.seconds(A) == 5
