"""The options of routers: those that every router has, and those of each driver (values).

Names, types and defaults: Exim, chapters "Generic options for routers" and those of the drivers.
"""

from __future__ import annotations

from collections.abc import Mapping

from relay.config.options import Kind, Option, OptionTable, Repeat, Standing, listed, table

_IGNORED, _UNSUPPORTED = Standing.IGNORED, Standing.UNSUPPORTED
_NOT_YET = "without it other mail would be delivered, or otherwise"
_NO_EFFECT = "nothing here depends on it"
_NOT_SERVED = "the driver is not served yet"

ROUTERS: OptionTable = table(
    Option("driver", Kind.STRING, None, "What kind of router it is.", "router"),
    Option("transport", Kind.EXPANDED, None, "Transport that gets the addresses.", "router"),
    Option("domains", Kind.DOMAINS, None, "Domains that it is for.", "router"),
    Option("local_parts", Kind.LOCAL_PARTS, None, "Local parts that it is for.", "router"),
    Option("senders", Kind.ADDRESSES, None, "Senders that it is for.", "router"),
    Option("condition", Kind.EXPANDED, None, "What must be true for it to run.", "router", repeat=Repeat.ALL_OF),
    Option("more", Kind.EXPANDED_BOOLEAN, "true", "Whether an address it declines goes on to the next.", "router"),
    Option("pass_on_timeout", Kind.BOOLEAN, "false", "Go on where a lookup gives no answer.", "router"),
    Option("address_data", Kind.EXPANDED, None, "Text that stays with the address.", "router"),
    Option("cannot_route_message", Kind.EXPANDED, None, "What is said of an address that is not routed.", "router"),
    Option("self", Kind.STRING, "freeze", "What to do where a host is this one.", "router"),
    Option("unseen", Kind.EXPANDED_BOOLEAN, "false", "Deliver, and give a copy to the next router.", "router",
           _UNSUPPORTED),
    *listed("router", _IGNORED, _NO_EFFECT, """
        address_test                       boolean    true
        debug_print                        expanded
        disable_logging                    boolean    false
        dnssec_request_domains             domains    *
        dsn_lasthop                        boolean    false
        expn                               boolean    true
        initgroups                         boolean    false
        log_as_local                       boolean    false
        retry_use_local_part               boolean    false
        router_home_directory              expanded
        transport_current_directory        expanded
        transport_home_directory           expanded
    """),
    *listed("router", _IGNORED, "addresses are not verified by routing yet", """
        fail_verify                        boolean    false
        fail_verify_recipient              boolean    false
        fail_verify_sender                 boolean    false
        verify                             boolean    true
        verify_only                        boolean    false
        verify_recipient                   boolean    true
        verify_sender                      boolean    true
    """),
    *listed("router", _UNSUPPORTED, _NOT_YET, """
        caseful_local_part                 boolean    false
        check_local_user                   boolean    false
        dnssec_require_domains             domains
        errors_to                          expanded
        fallback_hosts                     expanded
        group                              group
        ignore_target_hosts                hosts
        local_part_prefix                  string
        local_part_prefix_optional         boolean    false
        local_part_suffix                  string
        local_part_suffix_optional         boolean    false
        pass_router                        string
        redirect_router                    string
        require_files                      expanded
        translate_ip_address               expanded
        user                               user
    """),
    Option("headers_add", Kind.EXPANDED, None, _NOT_YET, "router", _UNSUPPORTED, repeat=Repeat.LINES),
    Option("headers_remove", Kind.EXPANDED, None, _NOT_YET, "router", _UNSUPPORTED, repeat=Repeat.NAMES),
    Option("set", Kind.STRING, None, _NOT_YET, "router", _UNSUPPORTED, repeat=Repeat.VARIABLES),
)  # fmt: skip

_MANUALROUTE = table(
    Option("route_list", Kind.STRING, None, "Domains with their hosts.", "manualroute"),
    Option("route_data", Kind.EXPANDED, None, "Hosts, by a lookup.", "manualroute"),
    Option("host_find_failed", Kind.STRING, "freeze", "What to do where a host is not found.", "manualroute"),
    Option("host_all_ignored", Kind.STRING, "defer", "What to do where no host is left.", "manualroute"),
    Option("hosts_randomize", Kind.EXPANDED_BOOLEAN, "false", "Try the hosts in random order.", "manualroute"),
    Option("same_domain_copy_routing", Kind.BOOLEAN, "false", "Route a domain once.", "manualroute", _IGNORED),
)

_DNSLOOKUP = table(*listed("dnslookup", _IGNORED, _NOT_SERVED, """
    check_secondary_mx                 boolean    false
    check_srv                          expanded
    fail_defer_domains                 domains
    ipv4_only                          expanded
    ipv4_prefer                        expanded
    mx_domains                         domains
    mx_fail_domains                    domains
    qualify_single                     boolean    true
    rewrite_headers                    boolean    true
    same_domain_copy_routing           boolean    false
    search_parents                     boolean    false
    srv_fail_domains                   domains
    widen_domains                      string
"""))  # fmt: skip

_REDIRECT = table(*listed("redirect", _IGNORED, _NOT_SERVED, """
    allow_defer                        boolean    false
    allow_fail                         boolean    false
    allow_filter                       boolean    false
    allow_freeze                       boolean    false
    check_ancestor                     boolean    false
    check_group                        boolean    true
    check_owner                        boolean    true
    data                               expanded
    directory_transport                expanded
    file                               expanded
    file_transport                     expanded
    filter_prepend_home                boolean    true
    forbid_blackhole                   boolean    false
    forbid_exim_filter                 boolean    false
    forbid_file                        boolean    false
    forbid_filter_dlfunc               boolean    false
    forbid_filter_existstest           boolean    false
    forbid_filter_logwrite             boolean    false
    forbid_filter_lookup               boolean    false
    forbid_filter_perl                 boolean    false
    forbid_filter_readfile             boolean    false
    forbid_filter_readsocket           boolean    false
    forbid_filter_reply                boolean    false
    forbid_filter_run                  boolean    false
    forbid_include                     boolean    false
    forbid_pipe                        boolean    false
    forbid_sieve_filter                boolean    false
    forbid_smtp_code                   boolean    false
    hide_child_in_errmsg               boolean    false
    ignore_eacces                      boolean    false
    ignore_enotdir                     boolean    false
    include_directory                  string
    modemask                           octal      022
    one_time                           boolean    false
    owners                             accounts
    owngroups                          accounts
    pipe_transport                     expanded
    qualify_domain                     expanded
    qualify_preserve_domain            boolean    false
    repeat_use                         boolean    true
    reply_transport                    expanded
    rewrite                            boolean    true
    sieve_enotify_mailto_owner         string
    sieve_inbox                        expanded
    sieve_subaddress                   expanded
    sieve_useraddress                  expanded
    sieve_vacation_directory           expanded
    skip_syntax_errors                 boolean    false
    syntax_errors_text                 expanded
    syntax_errors_to                   string
"""))  # fmt: skip

_IPLOOKUP = table(*listed("iplookup", _IGNORED, _NOT_SERVED, """
    hosts                              string
    optional                           boolean    false
    port                               integer    0
    protocol                           string     udp
    query                              expanded
    reroute                            expanded
    response_pattern                   string
    timeout                            time       5s
"""))  # fmt: skip

_QUERYPROGRAM = table(*listed("queryprogram", _IGNORED, _NOT_SERVED, """
    command                            expanded
    command_group                      group
    command_user                       user
    current_directory                  string     /
    timeout                            time       1h
"""))  # fmt: skip

ROUTER_DRIVERS: Mapping[str, OptionTable] = {
    "accept": {},
    "dnslookup": _DNSLOOKUP,
    "ipliteral": {},
    "iplookup": _IPLOOKUP,
    "manualroute": _MANUALROUTE,
    "queryprogram": _QUERYPROGRAM,
    "redirect": _REDIRECT,
}
"""A driver's own options, by its name."""
