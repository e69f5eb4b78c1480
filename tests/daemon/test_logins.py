"""The secret that salts for unknown names are made from."""

import stat
from pathlib import Path

from relay.daemon.logins import lasting_seed


def test_the_seed_lasts(tmp_path: Path) -> None:
    file = tmp_path / "auth-seed"
    seed = lasting_seed(file, None)
    assert len(seed) == 32
    assert lasting_seed(file, None) == seed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_without_a_place_for_it_there_is_one_for_the_process(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "auth-seed"
    assert lasting_seed(nowhere, None) != lasting_seed(nowhere, None)


def test_a_file_that_is_no_seed_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "auth-seed"
    file.write_bytes(b"short")
    assert len(lasting_seed(file, None)) == 32
    assert file.read_bytes() == b"short"
