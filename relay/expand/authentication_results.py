"""`${authresults{…}}`: what is known of the client as a header field of RFC 8601 (machine).

What Exim says without SPF, DKIM and DMARC: `local` for a caller without SMTP, `iprev` for the client's name, `auth`
for its authentication, and `none` where nothing is known.
"""

from __future__ import annotations

from relay.expand.scope import Scope
from relay.expand.values import Folded

_FOLD = ";\n\t"


def field_for(scope: Scope, server: str) -> str:
    """The field without its line end; `server` is the name that stands for whoever says it."""
    found = [*_local(scope, server), *_reverse_name(scope), *_authentication(scope)]
    if not found:
        return f"Authentication-Results: {server}; none"
    texts = (f"Authentication-Results: {server}", *found)
    return Folded(_FOLD.join(" ".join(each.splitlines()) for each in texts))


def _local(scope: Scope, server: str) -> list[str]:
    session = scope.session
    if session.caller is None or session.hello is not None:
        return []
    return [f"local=pass (non-smtp, {server}) u={session.caller.login}"]


def _reverse_name(scope: Scope) -> list[str]:
    session = scope.session
    if session.peer is None:
        return []
    if session.peer_host:
        result = f"pass ({session.peer_host})"
    elif scope.more.get("host_lookup_deferred", "0") != "0":
        result = "temperror"
    elif scope.more.get("host_lookup_failed", "0") != "0":
        result = "fail"
    else:
        return []
    return [f"iprev={result} smtp.remote-ip={session.peer.address}"]


def _authentication(scope: Scope) -> list[str]:
    given = scope.session.authentication
    if given is None:
        return []
    name = given.mechanism or given.authenticator
    method = "x509" if name == "tls" else "smtp"
    if given.identity:
        result = f"auth=pass ({name}) {method}.auth={given.identity}"
    elif method == "x509":
        result = f"auth=pass ({name}) reason=x509.auth"
    else:
        result = f"auth=pass ({name}, no id saved)"
    sender = scope.more.get("authenticated_sender", "")
    return [f"{result} smtp.mailfrom={sender}" if sender else result]
