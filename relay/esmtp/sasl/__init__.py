"""The mechanisms of AUTH, each half a machine of its own.

A mechanism sees octets that were freed of base64 (`coding.py`) and says what comes next (`steps.py`): a challenge, a
response, a question about a secret, an end. Whom it may let in, what the secret of a name is, and what an expansion
says are none of its business: it hands over the strings that became `$auth1` and on. Random text comes from the caller,
work that takes long (a key from a password) is asked for, never done here.
"""
