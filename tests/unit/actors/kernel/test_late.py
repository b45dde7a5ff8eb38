"""Late letters: what waits for a slow peer, in which order, and for how long."""

from __future__ import annotations

from shardmq.actors.kernel.late import (
    BYTES_MAX,
    LETTER_BYTES_MAX,
    PEER_LETTERS_MAX,
    PEERS_A_TURN,
    RETRY_MS,
    RETRY_MS_MAX,
    LateLetters,
    Offer,
)
from shardmq.actors.kernel.ports import Letter


def letter(peer: bytes = b"peer", text: bytes = b"text") -> Letter:
    return "front", peer, [text]


class Pipe:
    """Takes so many letters; a peer named `gone` is gone."""

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.taken: list[Letter] = []

    def __call__(self, one: Letter) -> Offer:
        if one[1] == b"gone":
            return Offer.NOBODY
        if not self.room:
            return Offer.NO_ROOM
        self.room -= 1
        self.taken.append(one)
        return Offer.SENT


def test_letters_leave_in_their_order_as_room_comes() -> None:
    late = LateLetters()
    letters = [letter(text=b"%d" % number) for number in range(5)]
    assert all(late.keep(one) for one in letters)
    pipe = Pipe(room=2)
    late.offer(pipe)
    assert pipe.taken == letters[:2]
    assert late
    pipe.room = 10
    assert late.offer(pipe) == (RETRY_MS, 0)
    assert pipe.taken == letters
    assert not late
    assert late.bytes == 0


def test_tries_grow_rarer_while_nothing_is_taken() -> None:
    late = LateLetters()
    late.keep(letter())
    pauses = [late.offer(Pipe())[0] for _ in range(10)]
    assert pauses[:3] == [2 * RETRY_MS, 4 * RETRY_MS, 8 * RETRY_MS]
    assert pauses[-1] == RETRY_MS_MAX
    late.keep(letter())
    assert late.offer(Pipe(room=1))[0] == RETRY_MS


def test_every_peer_gets_its_turn_though_one_reads_nothing() -> None:
    late = LateLetters()
    peers = [b"%d" % number for number in range(3 * PEERS_A_TURN)]
    for peer in peers:
        late.keep(letter(peer))

    def offered(one: Letter) -> Offer:
        return Offer.NO_ROOM if one[1] in peers[:PEERS_A_TURN] else Offer.SENT

    for _ in range(3):
        late.offer(offered)
    assert len(late) == PEERS_A_TURN


def test_letters_to_a_peer_that_is_gone_are_dropped_and_counted() -> None:
    late = LateLetters()
    late.keep(letter(b"gone"))
    late.keep(letter(b"gone"))
    assert late.offer(Pipe())[1] == 2
    assert not late
    assert late.bytes == 0


def test_what_waits_is_bounded_by_letter_peer_and_bytes() -> None:
    late = LateLetters()
    assert not late.keep(letter(text=b"x" * (LETTER_BYTES_MAX + 1)))
    assert all(late.keep(letter()) for _ in range(PEER_LETTERS_MAX))
    assert not late.keep(letter())
    large = b"x" * LETTER_BYTES_MAX
    kept = sum(late.keep(letter(b"%d" % number, large)) for number in range(1_000))
    assert kept == (BYTES_MAX - 4 * PEER_LETTERS_MAX) // LETTER_BYTES_MAX
    assert late.bytes <= BYTES_MAX


def test_a_peer_is_choked_from_a_letter_without_room_until_one_leaves_or_it_is_gone() -> None:
    late = LateLetters()
    assert not late.keep(letter(text=bytes(LETTER_BYTES_MAX + 1)))
    assert late.keep(letter(peer=b"gone"))
    assert late.choked == {b"peer", b"gone"}
    late.keep(letter())
    late.offer(Pipe())
    assert late.choked == {b"peer"}
    late.offer(Pipe(room=1))
    assert not late.choked
