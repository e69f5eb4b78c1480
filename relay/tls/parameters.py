"""Parameters of finite-field Diffie-Hellman out of files, and ones that are made for this host (disk).

`tls_dhparam` matters to few: TLS 1.3 and all newer clients name their group themselves. Making own parameters takes
minutes of a core, so `python -m relay.tls.parameters BITS FILE` does that in a process of its own, and puts the file
into its place by a rename; until it is there a named group of that size stands in.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from relay.tls.dh_groups import BLOCK, group_of_size, size_in_bits
from relay.tls.files import TLSFileError, read_octets


def read_parameters(path: str) -> bytes:
    """The parameters in a PEM file, which may hold other things too. Raises TLSFileError."""
    found = BLOCK.search(read_octets(path))
    if found is None:
        raise TLSFileError(path, "holds no Diffie-Hellman parameters in PEM form", "correct tls_dhparam")
    if not size_in_bits(found.group(0)):
        raise TLSFileError(path, "the Diffie-Hellman parameters can't be read", "replace the file")
    return found.group(0) + b"\n"


class ParameterCache:
    """Own parameters in a directory, `gnutls-params-BITS` as Exim calls them; made once, in the background.

    To replace them put a new file over the old one by renaming it, or remove it and have others made.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._makers: dict[int, subprocess.Popen[bytes]] = {}

    def path(self, bits: int) -> str:
        """Where the parameters of a size are, or will be."""
        return os.path.join(self._directory, f"gnutls-params-{bits}")

    def parameters(self, bits: int) -> bytes:
        """The parameters of a size; a named group while there are none yet. Raises TLSFileError."""
        if os.path.exists(self.path(bits)):
            return read_parameters(self.path(bits))
        self._begin(bits)
        return group_of_size(bits)

    def _begin(self, bits: int) -> None:
        maker = self._makers.get(bits)
        if maker is not None and maker.poll() is None:
            return
        command = [sys.executable, "-m", "relay.tls.parameters", str(bits), self.path(bits)]
        self._makers[bits] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, close_fds=True
        )

    def stop(self) -> None:
        """Ends what is being made."""
        for maker in self._makers.values():
            if maker.poll() is None:
                maker.terminate()
                maker.wait()
        self._makers.clear()


def make_parameters(bits: int, path: Path) -> None:
    """Makes parameters, which takes its time, and puts them into their place. Raises OSError."""
    from cryptography.hazmat.primitives.asymmetric import dh
    from cryptography.hazmat.primitives.serialization import Encoding, ParameterFormat

    from relay.tls.make import write_file

    made = dh.generate_parameters(generator=2, key_size=bits)
    write_file(path, made.parameter_bytes(Encoding.PEM, ParameterFormat.PKCS3), mode=0o600, replace=True)


if __name__ == "__main__":
    os.nice(10)
    make_parameters(int(sys.argv[1]), Path(sys.argv[2]))
