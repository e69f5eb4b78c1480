"""The SMTP dialog, from both sides, without a socket.

Bytes come in and are cut into lines, a line becomes a command, the server machine checks that the command
is legal now and asks at most one open question about it, the answer becomes a reply and bytes go out. The
client machine walks the same road from the other end: an envelope and a body go in, commands come out,
replies become one outcome for each recipient. What may follow what is a table; what is *allowed* is not
known here.
"""
