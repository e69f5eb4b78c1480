"""Events made visible: Exim's main log, JSON lines, counters.

Everything that happens arrives as an event of `relay.mail.events`; each form of output is a function from
the event to text, in which whatever came from a peer has been made printable.
"""
