"""The commands `relay` and `relay-sendmail`.

A command reads its arguments, calls one function of the packages below, prints what that returned and says
in its exit status how it went. This package imports nothing by itself: handing over a message loads neither
Twisted nor OpenSSL.
"""
