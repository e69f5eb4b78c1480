"""How items and conditions are written: the reader's tables (values).

A new item or condition of a form that exists is a name here and a row in `items.py` or `conditions.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arity:
    """How many arguments in braces an item or a condition takes, before its branches if it has any."""

    least: int
    most: int


# Items that are a name and arguments. `items.CALLS` says what they do.
CALLS = {
    "acl": Arity(1, 10),
    "authresults": Arity(1, 1),
    "hash": Arity(2, 3),
    "hmac": Arity(3, 3),
    "imapfolder": Arity(1, 3),
    "length": Arity(2, 2),
    "listquote": Arity(2, 2),
    "nhash": Arity(2, 3),
    "prvs": Arity(2, 3),
    "prvscheck": Arity(2, 3),
    "readfile": Arity(1, 2),
    "sg": Arity(3, 3),
    "substr": Arity(2, 3),
    "tr": Arity(3, 3),
}
# Items that find something or not: arguments, then branches. `items.CHOICES` says what they do.
CHOICES = {"certextract": Arity(2, 2), "env": Arity(1, 1)}

# Items of Exim's that are not served, and what is said of them: in Exim's words where it has some for it.
REFUSED_ITEMS = {
    "dlfunc": '"${dlfunc" encountered, but this facility is not included in this binary',
    "perl": '"${perl" encountered, but this facility is not included in this binary',
    "readsocket": '"${readsocket" encountered, but socket insertions are not permitted',
    "run": '"${run" encountered, but running a command is not permitted',
    "srs_encode": '"${srs_encode" encountered, but SRS is not served here',
}

# Conditions by their form. `conditions.CHECKS` says what they do.
BARE_CONDITIONS = frozenset({"first_delivery", "queue_running"})
ONE_TEXT = frozenset({"exists", "isip", "isip4", "isip6", "bool", "bool_lax"})
TWO_TEXTS = frozenset(
    {"eq", "eqi", "ge", "gei", "gt", "gti", "le", "lei", "lt", "lti", "match", "crypteq"}
    | {"=", "==", "<", "<=", ">", ">="}
)
# The second text of these is a list that is not expanded: that would let outsiders write lists.
LITERAL_LISTS = frozenset({"match_address", "match_domain", "match_ip", "match_local_part"})
LIST_MEMBERSHIP = frozenset({"inlist", "inlisti"})
# Those that ask somebody whom nobody can ask here.
REFUSED_CONDITIONS = frozenset({"inbound_srs", "ldapauth", "pam", "pwcheck", "radius", "saslauthd"})
GROUPS = frozenset({"and", "or"})
QUANTIFIERS = frozenset({"forall", "forall_json", "forall_jsons", "forany", "forany_json", "forany_jsons"})
SORT_COMPARISONS = frozenset({"<", "<=", ">", ">=", "lt", "lti", "le", "lei", "gt", "gti", "ge", "gei"})
