"""The lines of -bV that say what there is."""

from relay.cli.features import feature_lines


def test_each_kind_has_its_line() -> None:
    lines = dict(line.split(": ") for line in feature_lines())
    assert list(lines) == ["Support for", "Lookups (built-in)", "Authenticators", "Routers", "Transports"]
    assert "OpenSSL" in lines["Support for"].split()
    assert {"lsearch", "sqlite", "dnsdb"} <= set(lines["Lookups (built-in)"].split())
    assert {"accept", "manualroute"} <= set(lines["Routers"].split())
    assert {"appendfile/maildir", "smtp"} <= set(lines["Transports"].split())
    assert "queryprogram" not in lines["Routers"]
