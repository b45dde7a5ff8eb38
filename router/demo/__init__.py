"""The demonstration: a year of real flights through a broker, and the proof that all is well.

flights.py  the file's rows as messages, pure
proof.py    what must be true of the messages that came back, pure
sender.py   a process that sends them
replay.py   starts it and consumes them
static/     flights-2013.csv.xz: 336,776 departures from New York in 2013 (CC0)
"""
