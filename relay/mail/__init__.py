"""The shared words: addresses, envelopes, headers, replies, facts, outcomes, events, and the ports.

Every other package speaks in these values, and nothing here does anything: a connection becomes facts, a
command's answer is a named reply, what happened to a recipient is an outcome, what the log is to know is an
event, and whatever a decision needs from the world it asks of a port. No module of this package imports
from another layer.
"""
