"""The command line: `shardmq`. Commands only parse arguments, call the library and print.

main.py     the root command, loaded lazily, and what happens with errors
options.py  options that many commands share, and the types of their values
output.py   tables for people, JSON for programs
errors.py   every error as `{code, message, hint}` with its exit status
"""
