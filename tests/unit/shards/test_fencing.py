"""The coordinator's fence: which of its words are too old to be obeyed."""

from __future__ import annotations

from shardmq.actors.protocol.codec import encode_header
from shardmq.actors.protocol.frames import pack_envelope, pack_request
from shardmq.actors.protocol.messages import Define
from shardmq.actors.protocol.verbs import Verb
from shardmq.shards.fencing import CoordinatorFence
from shardmq.shards.requests import Request, read_request


def word(epoch: int, request_id: int, verb: Verb = Verb.DEFINE) -> Request:
    envelope = pack_envelope(epoch, 0, 0)
    route = pack_request(verb, request_id, 1_000)
    return read_request(("mailbox", b"peer", [envelope, route, encode_header(Define())]))


def test_words_come_in_the_order_of_epochs_and_then_of_requests() -> None:
    fence = CoordinatorFence()
    for epoch, request_id in ((3, 7), (3, 8), (3, 20), (4, 1), (4, 2)):
        assert not fence.is_stale(word(epoch, request_id))
    for epoch, request_id in ((3, 21), (4, 1), (2, 99)):
        assert fence.is_stale(word(epoch, request_id))


def test_the_same_word_again_is_not_stale() -> None:
    fence = CoordinatorFence()
    assert not fence.is_stale(word(3, 7))
    assert not fence.is_stale(word(3, 7))


def test_each_verb_has_a_count_of_its_own() -> None:
    fence = CoordinatorFence()
    assert not fence.is_stale(word(3, 7))
    assert not fence.is_stale(word(3, 1, Verb.GRANT))
