"""A message's way in.

A session joins the server machine to policy, trust and spool: each question of the machine is decided, an
accepted message gets its trace headers and goes to the spool with the facts of how it came, and the durable
commit, nothing earlier, allows the 250.
"""
