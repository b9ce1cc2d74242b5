"""Have torch believe in a CUDA card, in every Python process that has this folder in PYTHONPATH."""

import importlib.util
import pathlib
import sys


class _AfterTorch:
    """Lets torch be imported as ever, and then pretends."""

    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_pretend(module):
            execute(module)
            import pretended_card

            pretended_card.pretend()

        spec.loader.exec_module = execute_and_pretend
        return spec


_exists = pathlib.Path.exists


def _exists_or_driver(path, *arguments, **options):
    return str(path) == "/dev/nvidiactl" or _exists(path, *arguments, **options)


sys.meta_path.insert(0, _AfterTorch())
pathlib.Path.exists = _exists_or_driver
