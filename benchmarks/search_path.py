"""Search path of a benchmark that runs as a script; to be imported first.

Python searches the folder of a script first, where ``statistics.py`` hides the standard library's
module of that name. This module puts the repository's root first and the folder last, where the
processes that a benchmark starts find this module, too.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
others = [path for path in sys.path if Path(path).resolve() != FOLDER]
sys.path[:] = [str(ROOT), *others, str(FOLDER)]
