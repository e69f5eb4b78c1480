"""Whom to believe: certificates, peers, pins, DANE, MTA-STS, and what they add up to.

A certificate that has just proved its key comes in as facts; anchors, peers and requirements that are in
force now are held against it; out comes a decision with its reason, which policy then sees as a value. A
demand on the way out is the strictest of all that apply, and nothing here can weaken it.
"""
