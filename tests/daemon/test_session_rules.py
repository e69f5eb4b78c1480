"""What the main section says to sessions."""

import pytest

from relay.config.read import read_configuration
from relay.daemon.session_rules import receive_timeout


@pytest.mark.parametrize("said, seconds", [("", 300.0), ("smtp_receive_timeout = 90s", 90.0)])
def test_a_client_may_be_silent_for_so_long(said: str, seconds: float) -> None:
    assert receive_timeout(read_configuration("/etc/conf", lambda _: f"{said}\n", host_name="here.test")) == seconds


def test_no_client_may_be_silent_for_ever() -> None:
    configuration = read_configuration("/etc/conf", lambda _: "smtp_receive_timeout = 0s\n", host_name="here.test")
    assert receive_timeout(configuration) == 86_400.0
