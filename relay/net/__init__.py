"""Sockets: listening, dialling, resolving, and the one connection that holds a TLS stack and a machine.

Bytes that arrive are handed down to the machine, its events are turned into questions and their answers
into bytes again, and one timer follows the machine's deadline. `ESMTPServerFactory` and
`ESMTPClientFactory` are ordinary Twisted factories that work without the rest of this project.
"""
