"""Have greencv believe that this is a Mac, and torch in its GPU, which is the CPU.

For every Python process that has this folder in PYTHONPATH, with $PRETENDED_KIND=mps; the libraries
still see the system that is there. $PATH needs a ``sysctl``.
"""

import pathlib
import platform
import runpy
import sys

_CARD = pathlib.Path(__file__).parent.parent / "pretended_cuda"


def _answer(name, told):
    known = getattr(platform, name)

    def ask():
        asks = sys._getframe(1).f_globals.get("__name__", "")
        return told if asks.startswith("greencv_core") else known()

    setattr(platform, name, ask)


_answer("system", "Darwin")
_answer("machine", "arm64")
sys.path.append(str(_CARD))
runpy.run_path(str(_CARD / "sitecustomize.py"))
