"""What may be done: ACLs, authenticators, routing, hosts, retry and rewriting.

A question of the server machine or of the delivery arrives here with the facts of its connection; the
statements of the configuration are tried in their order, each naming itself when it decides, and the
verdict goes back as a value. Nothing is dialled, read or timed here except through a port.
"""
