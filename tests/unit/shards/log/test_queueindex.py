"""Finding batches by offset and by time, against a plain list."""

from __future__ import annotations

import random
from array import array

from shardmq.actors.kernel.ports import Span
from shardmq.shards.log.indexfile import IndexFile, encode_index, open_index
from shardmq.shards.log.queueindex import QueueIndex

FAR = 1 << 60


class Case:
    """An index of some queues over some segments, and the same as lists of spans."""

    def __init__(self, seed: int, *, seal: bool) -> None:
        chance = random.Random(seed)
        self.files: dict[int, IndexFile] = {}
        self.loads = 0
        self.index = QueueIndex(self._load, cached_max=2)
        self.spans: dict[int, list[Span]] = {queue: [] for queue in range(4)}
        lsn, stored, ends = 0, 1_000, [0] * 4
        for segment in range(6):
            base = lsn
            self.index.open_segment(base)
            for _ in range(chance.randrange(12)):
                queue, count = chance.randrange(3), chance.randint(1, 4)
                ends[queue] += chance.choice([0, 0, 0, 5])  # gaps are legal
                length = chance.randint(150, 400)
                self.index.add(queue, ends[queue], lsn, length, count, stored)
                self.spans[queue].append(Span(ends[queue], lsn, length, count, stored))
                ends[queue] += count
                lsn += length + chance.choice([0, 64])
                stored += chance.choice([0, 0, 10])
            lsn += 64
            if seal and segment < 5:
                data = encode_index(base, lsn, 0, self.index.rows(base))
                found = open_index(data, base, lsn, 0)
                assert found is not None
                self.files[base] = found
                self.next_base = base
                self.pending = base
        if seal:
            for base in self.files:
                self.index.sealed(base)

    def _load(self, base: int) -> IndexFile:
        self.loads += 1
        return self.files[base]

    def expected(self, queue: int, offset: int, bytes_max: int, below: int) -> list[Span]:
        found: list[Span] = []
        for span in self.spans[queue]:
            if span.base_offset + span.count <= offset:
                continue
            if span.lsn + span.length > below:
                break
            if found and sum(one.length for one in found) + span.length > bytes_max:
                break
            found.append(span)
            if sum(one.length for one in found) >= bytes_max:
                break
        return found


def test_spans_are_those_of_a_plain_search_in_memory_and_in_files() -> None:
    for seed in range(20):
        for seal in (False, True):
            case = Case(seed, seal=seal)
            for queue in range(4):
                for offset in range(0, 60, 3):
                    for bytes_max, below in ((FAR, FAR), (600, FAR), (0, FAR), (FAR, 2_000)):
                        found = case.index.spans(queue, offset, bytes_max, below)
                        assert found == case.expected(queue, offset, bytes_max, below)


def test_times_are_found_as_in_a_plain_search() -> None:
    for seed in range(20):
        for seal in (False, True):
            case = Case(seed, seal=seal)
            for queue in range(4):
                for wall_ms in range(990, 1_200, 5):
                    for below in (FAR, 3_000):
                        later = [s for s in case.spans[queue] if s.stored_at_ms >= wall_ms]
                        fits = later and later[0].lsn + later[0].length <= below
                        found = case.index.offset_at_time(queue, wall_ms, below)
                        assert found == (later[0].base_offset if fits else None)


def test_earliest_and_next_offset_follow_drops() -> None:
    case = Case(3, seal=True)
    first, *rest = sorted({span.lsn for spans in case.spans.values() for span in spans})
    assert first == 0
    assert rest
    for queue, spans in case.spans.items():
        assert case.index.earliest(queue) == (spans[0].base_offset if spans else None)
        end = spans[-1].base_offset + spans[-1].count if spans else 0
        assert case.index.next_offset(queue) == end
    bases = sorted(case.files)
    for position, base in enumerate(bases[:-1]):
        case.index.drop(base)
        for queue, spans in case.spans.items():
            left = [one for one in spans if one.lsn >= bases[position + 1]]
            assert case.index.earliest(queue) == (left[0].base_offset if left else None)
            found = case.index.spans(queue, 0, FAR, FAR)
            assert found == left


def test_a_batch_found_once_can_be_named_with_its_queue() -> None:
    case = Case(1, seal=False)
    bases = [0, *case.files]
    assert bases
    for queue, spans in case.spans.items():
        for span in spans:
            base = max(one for one in case.index._bases if one <= span.lsn)
            assert case.index.queue_at(span, base) == queue
    assert case.index.queue_at(Span(0, 5, 1, 1, 1), 0) == -1


def test_few_index_files_stay_in_memory() -> None:
    case = Case(2, seal=True)
    for _ in range(3):
        for queue in range(3):
            case.index.spans(queue, 0, FAR, FAR)
    assert len(case.index._cache) <= 2
    assert case.loads > 2


def test_segments_with_an_index_file_cost_two_words_a_queue() -> None:
    index = QueueIndex(lambda base: IndexFile({1: (0, 4)}, memoryview(array("Q", [9, 8, 7, 6]))), 1)
    index.add_sealed(0, {1: 9})
    index.open_segment(100)
    assert index.queues() == [1]
    assert index.earliest(1) == 9
    assert index.spans(1, 0, FAR, FAR) == [Span(9, 8, 7, 0, 6)]
    assert index.spans(2, 0, FAR, FAR) == []
