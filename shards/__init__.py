"""Shards: everything about one message or one queue.

`log` is the journal (segments, group commit, recovery, retention), `state` the projections that are
folded from it. A shard is the single writer of its directory. It imports `actors` and nothing else
of ours; nothing but the router's composition root imports it.
"""
