"""A message's way out.

The schedule says what is due and what may start; an attempt routes the message, collects what its hosts are
demanded to prove, and hands it to a remote host or to a mailbox; the outcomes are settled in the spool,
first recorded and then acted on: done, tried again later, or returned to the sender as a bounce.
"""
