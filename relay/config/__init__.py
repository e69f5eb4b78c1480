"""Exim's configuration language, read and compiled.

A file becomes logical lines that know where they came from, the lines become options, statements and
drivers by a table that holds type, default and the operator's text of each, and expansions, lists and ACLs
are compiled at once. All mistakes of a file are reported together, as FILE:LINE and what to do; a mistake
never waits for a peer to find it.
"""
