"""Exim's expansion language and its lists.

A string is parsed once into a frozen tree in which every node knows its place in the text, the tree is
compiled into closures, and an evaluation asks ports for whatever lies outside: variables, lookups, ACLs.
Text from outside is tainted and never becomes program. A failure that was asked for, a failure that was
not, and an empty string are three different results.
"""
