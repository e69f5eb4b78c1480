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
    Option("unseen", Kind.EXPANDED_BOOLEAN, "false", "Deliver, and give a copy to the next router.", "router"),
    Option("address_test", Kind.BOOLEAN, "true", "Run it for -bt.", "router"),
    Option("caseful_local_part", Kind.BOOLEAN, "false", "Mind the case of local parts.", "router"),
    Option("check_local_user", Kind.BOOLEAN, "false", "The local part must be a login of this machine.", "router"),
    Option("disable_logging", Kind.BOOLEAN, "false", "Write no log line for its deliveries.", "router"),
    Option("dnssec_request_domains", Kind.DOMAINS, "*", "Domains for which DNSSEC is asked for.", "router"),
    Option("dnssec_require_domains", Kind.DOMAINS, None, "Domains for which DNSSEC is demanded.", "router"),
    Option("errors_to", Kind.EXPANDED, None, "Who is told of failures, instead of the sender.", "router"),
    Option("expn", Kind.BOOLEAN, "true", "Run it for EXPN.", "router"),
    Option("fail_verify", Kind.BOOLEAN, "false", "Addresses that it takes are not verified.", "router"),
    Option("fail_verify_recipient", Kind.BOOLEAN, "false", "The same of recipients.", "router"),
    Option("fail_verify_sender", Kind.BOOLEAN, "false", "The same of senders.", "router"),
    Option("fallback_hosts", Kind.EXPANDED, None, "Hosts to try where the others failed.", "router"),
    Option("group", Kind.GROUP, None, "Group that its local deliveries run as.", "router"),
    Option("headers_add", Kind.EXPANDED, None, "Fields for the delivered copies.", "router", repeat=Repeat.LINES),
    Option("headers_remove", Kind.EXPANDED, None, "Fields to leave out of them.", "router", repeat=Repeat.NAMES),
    Option("ignore_target_hosts", Kind.HOSTS, None, "Hosts that are as if they were not there.", "router"),
    Option("initgroups", Kind.BOOLEAN, "false", "Run with all groups of the user.", "router"),
    Option("local_part_prefix", Kind.STRING, None, "What local parts must begin with; it is taken off.", "router"),
    Option("local_part_prefix_optional", Kind.BOOLEAN, "false", "The prefix may be missing.", "router"),
    Option("local_part_suffix", Kind.STRING, None, "What local parts must end with; it is taken off.", "router"),
    Option("local_part_suffix_optional", Kind.BOOLEAN, "false", "The suffix may be missing.", "router"),
    Option("log_as_local", Kind.BOOLEAN, "false", "Log the local part alone (accept: true).", "router"),
    Option("pass_router", Kind.STRING, None, "Where an address goes that is passed on.", "router"),
    Option("redirect_router", Kind.STRING, None, "Where new addresses begin.", "router"),
    Option("require_files", Kind.STRING, None, "Files that must be there.", "router"),
    Option("router_home_directory", Kind.EXPANDED, None, "$home while it runs.", "router"),
    Option("debug_print", Kind.EXPANDED, None, "Text for who watches (-v, -bt, -bh) when it is tried.", "router"),
    Option("set", Kind.STRING, None, "Variables r_… of the address.", "router", repeat=Repeat.VARIABLES),
    Option("transport_current_directory", Kind.EXPANDED, None, "Where the transport runs.", "router"),
    Option("transport_home_directory", Kind.EXPANDED, None, "$home of the transport.", "router"),
    Option("user", Kind.USER, None, "User that its local deliveries run as.", "router"),
    Option("verify", Kind.BOOLEAN, "true", "Run it to verify addresses.", "router"),
    Option("verify_only", Kind.BOOLEAN, "false", "Run it to verify addresses alone.", "router"),
    Option("verify_recipient", Kind.BOOLEAN, "true", "Run it to verify recipients.", "router"),
    Option("verify_sender", Kind.BOOLEAN, "true", "Run it to verify senders.", "router"),
    *listed("router", _IGNORED, _NO_EFFECT, """
        dsn_lasthop                        boolean    false
        retry_use_local_part               boolean    false
    """),
    *listed("router", _UNSUPPORTED, _NOT_YET, """
        translate_ip_address               expanded
    """),
)  # fmt: skip

_MANUALROUTE = table(
    Option("route_list", Kind.STRING, None, "Domains with their hosts.", "manualroute"),
    Option("route_data", Kind.EXPANDED, None, "Hosts, by a lookup.", "manualroute"),
    Option("host_find_failed", Kind.STRING, "freeze", "What to do where a host is not found.", "manualroute"),
    Option("host_all_ignored", Kind.STRING, "defer", "What to do where no host is left.", "manualroute"),
    Option("hosts_randomize", Kind.EXPANDED_BOOLEAN, "false", "Try the hosts in random order.", "manualroute"),
    Option("same_domain_copy_routing", Kind.BOOLEAN, "false", "Route a domain once.", "manualroute", _IGNORED),
)

_DNSLOOKUP = table(
    Option("check_secondary_mx", Kind.BOOLEAN, "false", "Take only domains that this host is an exchanger of.",
           "dnslookup"),
    Option("check_srv", Kind.EXPANDED, None, "Service to look for SRV records of.", "dnslookup"),
    Option("fail_defer_domains", Kind.DOMAINS, None, "Domains that wait where no host is found.", "dnslookup"),
    Option("ipv4_only", Kind.EXPANDED, None, "Whether only IPv4 addresses are used.", "dnslookup"),
    Option("ipv4_prefer", Kind.EXPANDED, None, "Whether IPv4 addresses come first.", "dnslookup"),
    Option("mx_domains", Kind.DOMAINS, None, "Domains that must have MX records.", "dnslookup"),
    Option("mx_fail_domains", Kind.DOMAINS, None, "Domains whose MX lookup may fail.", "dnslookup"),
    Option("qualify_single", Kind.BOOLEAN, "true", "Complete a domain of one label.", "dnslookup"),
    Option("search_parents", Kind.BOOLEAN, "false", "Look a domain up in those of the search list.", "dnslookup"),
    Option("srv_fail_domains", Kind.DOMAINS, None, "Domains whose SRV lookup may fail.", "dnslookup"),
    Option("widen_domains", Kind.STRING, None, "Endings to try.", "dnslookup"),
    Option("rewrite_headers", Kind.BOOLEAN, "true", "Header lines are not rewritten here.", "dnslookup", _IGNORED),
    Option("same_domain_copy_routing", Kind.BOOLEAN, "false", _NO_EFFECT, "dnslookup", _IGNORED),
)  # fmt: skip

_REDIRECT = table(
    Option("allow_defer", Kind.BOOLEAN, "false", "Permit :defer:.", "redirect"),
    Option("allow_fail", Kind.BOOLEAN, "false", "Permit :fail:.", "redirect"),
    Option("check_ancestor", Kind.BOOLEAN, "false", "Leave an address that leads back to itself.", "redirect"),
    Option("check_group", Kind.BOOLEAN, "true", "The file must be of a permitted group.", "redirect"),
    Option("check_owner", Kind.BOOLEAN, "true", "The file must be of a permitted user.", "redirect"),
    Option("data", Kind.EXPANDED, None, "The new addresses.", "redirect"),
    Option("directory_transport", Kind.EXPANDED, None, "Transport for directories.", "redirect"),
    Option("file", Kind.EXPANDED, None, "A file with them.", "redirect"),
    Option("file_transport", Kind.EXPANDED, None, "Transport for files.", "redirect"),
    Option("forbid_blackhole", Kind.BOOLEAN, "false", "Do not permit :blackhole:.", "redirect"),
    Option("forbid_file", Kind.BOOLEAN, "false", "Do not permit files.", "redirect"),
    Option("forbid_include", Kind.BOOLEAN, "false", "Do not permit :include:.", "redirect"),
    Option("forbid_pipe", Kind.BOOLEAN, "false", "Do not permit commands.", "redirect"),
    Option("forbid_smtp_code", Kind.BOOLEAN, "false", "A reply code in :fail: and :defer: is left out.", "redirect"),
    Option("hide_child_in_errmsg", Kind.BOOLEAN, "false", "Reports name the original address alone.", "redirect"),
    Option("ignore_eacces", Kind.BOOLEAN, "false", "A file that may not be read is none.", "redirect"),
    Option("ignore_enotdir", Kind.BOOLEAN, "false", "A path that leads nowhere is no file.", "redirect"),
    Option("include_directory", Kind.STRING, None, "Directory that included files must be in.", "redirect"),
    Option("modemask", Kind.OCTAL, "022", "Bits that the file's mode must not have.", "redirect"),
    Option("one_time", Kind.BOOLEAN, "false", "Addresses alone; what waits becomes a recipient.", "redirect"),
    Option("owners", Kind.ACCOUNTS, None, "Users who may own the file.", "redirect"),
    Option("owngroups", Kind.ACCOUNTS, None, "Groups that it may be of.", "redirect"),
    Option("pipe_transport", Kind.EXPANDED, None, "Transport for commands.", "redirect"),
    Option("qualify_domain", Kind.EXPANDED, None, "Domain for addresses without one.", "redirect"),
    Option("qualify_preserve_domain", Kind.BOOLEAN, "false", "They get the domain of the original.", "redirect"),
    Option("repeat_use", Kind.BOOLEAN, "true", "It may run for addresses that it has made.", "redirect"),
    Option("rewrite", Kind.BOOLEAN, "true", "The rewriting rules apply to them.", "redirect"),
    Option("skip_syntax_errors", Kind.BOOLEAN, "false", "Pass over items with mistakes.", "redirect"),
    *listed("redirect", _IGNORED, "filters are not served, and refused where one is met", """
        allow_filter                       boolean    false
        allow_freeze                       boolean    false
        filter_prepend_home                boolean    true
        forbid_exim_filter                 boolean    false
        forbid_filter_dlfunc               boolean    false
        forbid_filter_existstest           boolean    false
        forbid_filter_logwrite             boolean    false
        forbid_filter_lookup               boolean    false
        forbid_filter_perl                 boolean    false
        forbid_filter_readfile             boolean    false
        forbid_filter_readsocket           boolean    false
        forbid_filter_reply                boolean    false
        forbid_filter_run                  boolean    false
        forbid_sieve_filter                boolean    false
        reply_transport                    expanded
        sieve_enotify_mailto_owner         string
        sieve_inbox                        expanded
        sieve_subaddress                   expanded
        sieve_useraddress                  expanded
        sieve_vacation_directory           expanded
    """),
    *listed("redirect", _IGNORED, "mistakes that are passed over are told to nobody", """
        syntax_errors_text                 expanded
        syntax_errors_to                   string
    """),
)  # fmt: skip

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
