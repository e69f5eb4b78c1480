"""What a demand on TLS lets through: the whole table, so that no row can change unseen."""

import pytest

from relay.mail.facts import NotAsked, Unverified, Verification, Verified
from relay.tls.policy import ClientTLS, TLSDemand, VerifyServer
from relay.trust.requirement import Met, Unmet, holds, may_go_clear

CLEAR = {
    (TLSDemand.AVOID, VerifyServer.NOT): True,
    (TLSDemand.OPPORTUNISTIC, VerifyServer.NOT): True,
    (TLSDemand.REQUIRED, VerifyServer.NOT): False,
    (TLSDemand.AVOID, VerifyServer.TRY): True,
    (TLSDemand.AVOID, VerifyServer.MUST): False,  # the strictest holds, however odd the pair
    (TLSDemand.OPPORTUNISTIC, VerifyServer.TRY): True,
    (TLSDemand.OPPORTUNISTIC, VerifyServer.MUST): False,  # who strips STARTTLS must gain nothing
    (TLSDemand.REQUIRED, VerifyServer.TRY): False,
    (TLSDemand.REQUIRED, VerifyServer.MUST): False,
}
VERDICTS: list[Verification] = [*map(Verified, ("anchor", "itself", "peer", "pin")), Unverified("expired"), NotAsked()]


def test_the_table_is_whole() -> None:
    assert set(CLEAR) == {(demand, verify) for demand in TLSDemand for verify in VerifyServer}


@pytest.mark.parametrize("demand, verify", CLEAR)
@pytest.mark.parametrize("tempfail_tryclear", [False, True])
@pytest.mark.parametrize("on_connect", [False, True])
def test_may_go_clear(demand: TLSDemand, verify: VerifyServer, tempfail_tryclear: bool, on_connect: bool) -> None:
    """`tls_tempfail_tryclear` is about when to try, never a right to."""
    policy = ClientTLS(demand, verify=verify, tempfail_tryclear=tempfail_tryclear, on_connect=on_connect)
    assert may_go_clear(policy) is CLEAR[demand, verify]


@pytest.mark.parametrize("demand", TLSDemand)
@pytest.mark.parametrize("verification", VERDICTS, ids=repr)
def test_a_demanded_verification_holds_for_a_verified_certificate_alone(
    demand: TLSDemand, verification: Verification
) -> None:
    """Nothing but a verification that took place and passed is one; "nobody asked" is not."""
    met = holds(ClientTLS(demand, verify=VerifyServer.MUST), verification)
    assert isinstance(met, Met if isinstance(verification, Verified) else Unmet)


@pytest.mark.parametrize("demand", TLSDemand)
@pytest.mark.parametrize("verification", VERDICTS, ids=repr)
def test_a_tried_verification_never_stops_a_message(demand: TLSDemand, verification: Verification) -> None:
    assert holds(ClientTLS(demand, verify=VerifyServer.TRY), verification) == Met()


def test_the_reason_is_handed_on() -> None:
    unmet = holds(ClientTLS(verify=VerifyServer.MUST), Unverified("the certificate has expired"))
    assert isinstance(unmet, Unmet)
    assert "the certificate has expired" in unmet.reason
