"""What a shard knows, as folds over its journal: one projection a file.

`topics` definitions, `queues` offsets, `producers` last batches; `records` are the state records
that change them, `buckets` how they are cut for snapshots. No I/O reaches here.
"""
