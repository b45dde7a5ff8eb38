"""The wire protocol as values and tables: verbs, frames, codes, names, limits, the record batch.

Bytes in, values out; no sockets, no clock, nothing of ShardMQ outside this package.
"""
