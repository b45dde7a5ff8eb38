"""The ledger: a decision is appended, or refused with a reason that clients understand."""

from __future__ import annotations

import pytest

from shardmq.actors.coordinator.catalogue import Catalogue
from shardmq.actors.coordinator.groups import Groups
from shardmq.actors.coordinator.ledger import REFUSAL_RETRY_MS, Ledger
from shardmq.actors.coordinator.records import GroupGone, TopicGone
from shardmq.actors.coordinator.topics import Refused
from shardmq.actors.kernel.ports import Refusal
from shardmq.actors.protocol.codes import Code
from support.manual import at
from support.memory_journal import MemoryJournal


def test_a_mark_lies_behind_its_decision() -> None:
    journal = MemoryJournal(Catalogue(), Groups())
    ledger = Ledger(journal)
    marks = [ledger.append(record, at(0)) for record in (TopicGone(1), GroupGone(1))]
    assert marks == [record.lsn + record.length for record in journal.records]
    assert (ledger.end, ledger.durable, ledger.epoch) == (marks[-1], 0, 1)


@pytest.mark.parametrize("refusal", list(Refusal))
def test_what_the_journal_refuses_is_not_appended(refusal: Refusal) -> None:
    journal = MemoryJournal()
    ledger = Ledger(journal)
    journal.refuses = refusal
    with pytest.raises(Refused) as caught:
        ledger.append(TopicGone(1), at(0))
    assert caught.value.code == Code[refusal.name]
    assert caught.value.retry_after_ms == REFUSAL_RETRY_MS
    assert journal.records == []
    assert ledger.is_damaged == (refusal is Refusal.READ_ONLY)
