"""The start of firexlite.pyz, a file that holds firexlite and all that it needs: `python3 firexlite.pyz submit ...`."""
import sys

if sys.version_info < (3, 10):  # noqa: UP036 - this file alone is read by older ones, too
    sys.exit("firexlite: this is Python %d.%d, and firexlite needs 3.10 or later" % sys.version_info[:2])  # noqa: UP031

import _imp
import marshal
import zipimport
from importlib.util import MAGIC_NUMBER, cache_from_source


class Archive(zipimport.zipimporter):
    """Imports from a zip file, and takes code that lies there compiled for this Python, which zipimport looks for only
    where one Python's code has a place."""

    def get_filename(self, fullname: str) -> str:
        inner = self.prefix + fullname.rpartition(".")[2]
        return f"{self.archive}/{inner}/__init__.py" if self.is_package(fullname) else f"{self.archive}/{inner}.py"

    def get_code(self, fullname: str):
        path = self.get_filename(fullname)
        try:
            compiled = self.get_data(cache_from_source(path))
        except OSError:
            return super().get_code(fullname)
        if compiled[:4] != MAGIC_NUMBER:
            return super().get_code(fullname)
        code = marshal.loads(memoryview(compiled)[16:])
        _imp._fix_co_filename(code, path)  # what tracebacks name, as importlib does for each module that was moved
        return code


sys.path_hooks.insert(0, Archive)
sys.path_importer_cache.pop(sys.path[0], None)

if __name__ == "__main__":
    from firexlite.__main__ import main

    main()
