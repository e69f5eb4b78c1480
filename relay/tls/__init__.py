"""TLS on one connection: up, down, and up again.

Bytes from the network are cut into whole records, so that OpenSSL never holds a byte which belongs to the
clear text behind a close alert. The first record of a handshake is read for its server name and protocols,
one question is asked, *which context?*, and only the answer lets OpenSSL begin. What the handshake proved
is reported as facts and vanishes with the layer. OpenSSL is imported nowhere else.
"""
