"""The options of authenticators: those that every authenticator has, and those of each driver (values).

Names, types and defaults: Exim, chapters "SMTP authentication" and those of the drivers.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.config.options import Kind, Option, OptionTable, Standing, explained, listed, table

_IGNORED = Standing.IGNORED
_NOT_SERVED = "the driver is not served yet"

AUTHENTICATORS: OptionTable = table(
    Option("driver", Kind.STRING, None, "What kind of authenticator it is.", "authenticator"),
    Option("public_name", Kind.STRING, None, "Name of the mechanism; the instance's where unset.", "authenticator"),
    Option("server_advertise_condition", Kind.EXPANDED, None, "Whether it is offered.", "authenticator"),
    Option("server_condition", Kind.EXPANDED, None, "Whether the client is let in.", "authenticator"),
    Option("server_set_id", Kind.EXPANDED, None, "The identity of a client that was let in.", "authenticator"),
    Option("server_mail_auth_condition", Kind.EXPANDED, None, "Whether AUTH= of MAIL is believed.", "authenticator"),
    Option("server_debug_print", Kind.EXPANDED, None, "Text for debugging.", "authenticator", _IGNORED),
    Option("client_condition", Kind.EXPANDED, None, "Whether it is tried as a client.", "authenticator"),
    Option("client_set_id", Kind.EXPANDED, None, "The identity that is logged as a client.", "authenticator"),
)

_CRAM_MD5 = table(
    Option("client_name", Kind.EXPANDED, "$primary_hostname", "Who we say that we are.", "cram_md5"),
    Option("client_secret", Kind.EXPANDED, None, "Our secret as a client.", "cram_md5"),
    Option("server_secret", Kind.EXPANDED, None, "The secret of the client that $auth1 names.", "cram_md5"),
)

_CYRUS_SASL = table(*listed("cyrus_sasl", _IGNORED, _NOT_SERVED, """
    server_hostname                    expanded   $primary_hostname
    server_mech                        string
    server_realm                       expanded
    server_service                     string     smtp
"""))  # fmt: skip

_DOVECOT = table(*listed("dovecot", _IGNORED, _NOT_SERVED, """
    server_socket                      string
"""))  # fmt: skip

_EXTERNAL = table(
    Option("client_send", Kind.EXPANDED, None, "The identity that we ask for as a client.", "external"),
    Option("server_param2", Kind.EXPANDED, None, "Text for $auth2.", "external"),
    Option("server_param3", Kind.EXPANDED, None, "Text for $auth3.", "external"),
)

_NO_EFFECT = "channel binding is a mechanism of its own (-PLUS), names and services are not asked for"
_GSASL = table(
    *explained("gsasl", """
    client_authz                       expanded   : As whom we want to act.
    client_password                    expanded   : Our password as a client.
    client_spassword                   expanded   : The same, salted, in hexadecimal.
    client_username                    expanded   : Our name as a client.
    server_key                         expanded   : ServerKey in base64, beside server_skey.
    server_mech                        string     : The mechanism: SCRAM-SHA-1 or SCRAM-SHA-256, each also with -PLUS.
    server_password                    expanded   : Password of the client that $auth1 names, or a verifier.
    server_scram_iter                  expanded   4096 : Iterations.
    server_scram_salt                  expanded   : Salt in base64.
    server_skey                        expanded   : StoredKey in base64, instead of a password.
"""),
    *listed("gsasl", _IGNORED, _NO_EFFECT, """
    client_channelbinding              boolean    false
    server_channelbinding              boolean    false
    server_hostname                    expanded   $primary_hostname
    server_realm                       expanded
    server_service                     string     smtp
"""),
)  # fmt: skip

_HEIMDAL_GSSAPI = table(*listed("heimdal_gssapi", _IGNORED, _NOT_SERVED, """
    server_hostname                    expanded   $primary_hostname
    server_keytab                      expanded
    server_service                     expanded   smtp
"""))  # fmt: skip

_PLAINTEXT = table(
    Option("client_ignore_invalid_base64", Kind.BOOLEAN, "false", "Go on where a server sends no base64.", "plaintext"),
    Option("client_send", Kind.EXPANDED, None, "What we send as a client, one text for each challenge.", "plaintext"),
    Option("server_prompts", Kind.EXPANDED, None, "What clients are asked, one text for each answer.", "plaintext"),
)

_SPA = table(*listed("spa", _IGNORED, _NOT_SERVED, """
    client_domain                      expanded
    client_password                    expanded
    client_username                    expanded
    server_password                    expanded
"""))  # fmt: skip

_TLS = table(
    Option("server_param", Kind.EXPANDED, None, "Another name of server_param1.", "tls"),
    Option("server_param1", Kind.EXPANDED, None, "Text for $auth1, after the handshake.", "tls"),
    Option("server_param2", Kind.EXPANDED, None, "Text for $auth2.", "tls"),
    Option("server_param3", Kind.EXPANDED, None, "Text for $auth3.", "tls"),
)

AUTHENTICATOR_DRIVERS: Mapping[str, OptionTable] = {
    "cram_md5": _CRAM_MD5,
    "cyrus_sasl": _CYRUS_SASL,
    "dovecot": _DOVECOT,
    "external": _EXTERNAL,
    "gsasl": _GSASL,
    "heimdal_gssapi": _HEIMDAL_GSSAPI,
    "plaintext": _PLAINTEXT,
    "spa": _SPA,
    "tls": _TLS,
}
"""A driver's own options, by its name."""
