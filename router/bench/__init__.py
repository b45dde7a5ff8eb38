"""The benchmark: workers in their own processes, one conductor, figures that can be checked.

figures.py  percentiles and rates, pure
plan.py     what a worker is told and what it answers, as structs
load.py     what a worker does: produce, consume, send on a schedule, receive
worker.py   a worker's process: reads its plan, waits for the start, reports
conduct.py  starts broker and workers, watches them, collects the result
watch.py    CPU seconds and peak memory of processes
raw.py      the limits: bare ZeroMQ sockets and bare writev with the same bytes
"""
