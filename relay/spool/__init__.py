"""The durable queue.

An arriving message is written chunk by chunk, made durable in one commit together with its neighbours, and
only then answered for. A delivery claims messages for a while, records each outcome before acting on it,
and removes what is done. At a start, whatever dead owners have left is put in order. One schema serves
SQLite and PostgreSQL.
"""
