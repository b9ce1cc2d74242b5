"""The peers' own environment: they are no part of greencv's, where they would change what runs.

It sees greencv's packages as well, so that all tools meter the same training with the same torch.
"""

import hashlib
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

LOCK = Path(__file__).with_name("peers.lock")


def python():
    """Return the interpreter that has the peers; set it up where it is not, some seconds once."""
    own = Path(sysconfig.get_path("purelib"))
    folder = Path(sys.prefix) / "peers"
    interpreter = folder / "bin" / "python"
    ready = folder / ".ready"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if ready.is_file() and ready.read_text() == wanted:
        return interpreter
    print(f"setting up the peers in {folder}", file=sys.stderr)
    venv.create(folder, with_pip=False, clear=True)
    uv = [Path(sys.prefix) / "bin" / "uv", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*uv, "--python", interpreter, "--require-hashes", "-r", LOCK], check=True)
    [packages] = (folder / "lib").glob("python*/site-packages")
    # Through site.addsitedir, so that editable installs there are found, too.
    (packages / "greencv.pth").write_text(f"import site; site.addsitedir({str(own)!r})\n")
    ready.write_text(wanted)
    return interpreter
