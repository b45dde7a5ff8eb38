"""The log: an append-only journal on files, and the index by which batches are found again.

io        the port to the files; realio its real side
record    the 64 bytes in front of every payload
scan      sound and damaged stretches of a file      logscan   ... of a whole directory
decide    what recovery does about a damage (table)  recovery  ... doing it
replay    state and index from sound records         setaside  bytes taken out, and kept
segment   the files of a log                         jobs      disk work beside the loop
flush     group commit                               housekeeping  what is due when
queueindex, indexfile, tables    finding batches     reader    reading them, checked
snapshot  slices of the projections' state           retention, space    what may go, what fits
journal   all of it together
"""
