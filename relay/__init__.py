"""Fingerpost: a mail relay whose trust is certificates.

The packages lie in layers, each importing only from below: `mail` (the words that all share), the machines
`esmtp`, `tls`, `dkim` and `expand`, the decisions `policy` and `trust`, the disk `spool`, the two journeys
of a message `reception` and `delivery`, the edges `net` and `observe`, the configuration language `config`,
and on top `daemon`, which joins everything, under the commands `cli` and the twistd plugin `tap`. Each
package's docstring tells its part of the journey; this one imports nothing, so that a command which needs
little starts fast.
"""

__version__ = "0.1.0"
