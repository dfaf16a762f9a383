"""`firexapp.common`: small helpers that service files import from FireX."""
from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .. import host

T = TypeVar("T")
POLL_S = 0.1
BIN_FOLDER = "firex_bin_dir"  # the environment variable that FireX keeps the folder of its programs in


# --- texts ---------------------------------------------------------------------------------------------------------------

def delimit2list(str_to_split: Any, delimiters: Iterable[str] = (",", ";", "|", " ")) -> Any:
    """The parts of a text between delimiters, without the empty ones; what stands in quotes is not parted.

    A part that as a whole stands in quotes loses them. What is no text is given back as it is, and nothing as an empty list.
    """
    if not str_to_split:
        return []
    if not isinstance(str_to_split, str):
        return str_to_split
    marks = "".join(delimiters)
    blanks = r"\s" if " " in marks else ""
    piece = rf"""(?:[^{re.escape(marks.replace(" ", ""))}{blanks}'"]|"(?:\\.|[^"])*"|'(?:\\.|[^'])*')+"""
    parts = [_unquoted(found).strip().strip(marks + " ") for found in re.findall(piece, str_to_split)]
    return [part for part in parts if part]


def _unquoted(part: str) -> str:
    """The text without the quotes around it, if one pair encloses the whole."""
    bare = part.strip()
    whole = re.fullmatch(r"""(["'])(?:\\.|(?!\1).)*\1""", bare, re.DOTALL)
    return bare.strip(bare[0]) if whole else part


def dict2str(mydict: Mapping[str, Any] | None, sort: bool = False, sep: str = "    ", usevrepr: bool = True,
             line_prefix: str = "") -> str:
    """One line for each name and value, the values below each other; `None` for an empty dict."""
    if not mydict:
        return "None"
    width = max(map(len, mydict))
    items = sorted(mydict.items()) if sort else list(mydict.items())
    below = "\n" + " " * (width + len(sep))
    return "".join(f"{line_prefix}{name.ljust(width)}{sep}{repr(value) if usevrepr else str(value).replace(chr(10), below)}\n"
                   for name, value in items)


def find(keys: Iterable[str], input_dict: Any) -> Any:
    """The value that a path of keys leads to in nested dicts, None if it leads nowhere."""
    for key in keys:
        try:
            input_dict = input_dict[key]
        except (TypeError, KeyError):
            return None
    return input_dict


def render_template(template_str: str, template_args: Mapping[str, Any]) -> str:
    """A Jinja template filled in. Raises ImportError where jinja2 is not installed."""
    try:
        from jinja2 import Template
    except ImportError as error:
        raise ImportError("firexapp.common.render_template needs jinja2, which firexlite does not bring along: "
                          "pip install jinja2") from error
    return Template(template_str).render(**template_args)


# --- files ---------------------------------------------------------------------------------------------------------------

def silent_mkdir(path: str | os.PathLike, exist_ok: bool = True, **kwargs: Any) -> None:
    """Make a folder and those above it; one that is there already is no error."""
    os.makedirs(path, exist_ok=exist_ok, **kwargs)


def create_link(src: str, target: str, delete_link: bool | None = None, relative: bool = False,
                create_target_dir: bool = False) -> None:
    """Make ``target`` a symbolic link to ``src``, in place of what is there.

    delete_link: False has a ``target`` that is there raise FileExistsError. relative: the link does not name the folders
    above both. create_target_dir: make the folder of the link.
    """
    if create_target_dir:
        silent_mkdir(os.path.dirname(target))
    if relative:
        src = os.path.relpath(src, os.path.dirname(target))
    if not delete_link:
        try:
            os.symlink(src, target)
        except FileExistsError:
            if delete_link is False:
                raise
        else:
            return
    # Beside the old one, and then in its place, so that nobody finds none.
    folder = tempfile.mkdtemp(dir=os.path.dirname(os.path.abspath(target)), prefix=".link-")
    try:
        draft = os.path.join(folder, "link")
        os.symlink(src, draft)
        os.replace(draft, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create_link_async(src: str, target: str, **options: Any) -> threading.Thread:
    """As `create_link`, in a thread, which is given back."""
    thread = threading.Thread(target=create_link, args=(src, target), kwargs=options)
    thread.start()
    return thread


def qualify_firex_bin(bin_name: str) -> str:
    """The path of one of FireX's programs if the environment says where they are, else its name."""
    folder = os.environ.get(BIN_FOLDER)
    return bin_name if folder is None else os.path.join(folder, bin_name)


# --- waiting -------------------------------------------------------------------------------------------------------------

def wait_until(predicate: Callable[..., T], timeout: float, sleep_for: float, *args: Any, **kwargs: Any) -> T:
    """The first true value of ``predicate(*args, **kwargs)``, asked every ``sleep_for`` seconds; its last after ``timeout``."""
    give_up = time.monotonic() + timeout
    while time.monotonic() < give_up:
        if answer := predicate(*args, **kwargs):
            return answer
        time.sleep(sleep_for)
    return predicate(*args, **kwargs)


def wait_until_pid_not_exist(pid: int, timeout: float = 7, sleep_for: float = 1) -> bool:
    """Whether a process is gone, which is waited for."""
    return wait_until(lambda: not host.exists(pid), timeout, sleep_for)


def poll_until_path_exist(path: str, timeout: float = 10) -> None:
    """Raises AssertionError if there is still nothing at a path after ``timeout`` seconds; so do the next three."""
    assert wait_until(os.path.exists, timeout, POLL_S, path), f"{path} did not exist within {timeout}s"


def poll_until_file_exist(file_path: str, timeout: float = 10) -> None:
    poll_until_path_exist(file_path, timeout)
    assert os.path.isfile(file_path), f"{file_path} does not appear to be a file"


def poll_until_existing_file_not_empty(file_path: str, timeout: float = 10) -> None:
    assert wait_until(os.path.getsize, timeout, POLL_S, file_path), f"File {file_path} size is zero"


def poll_until_file_not_empty(file_path: str, timeout: float = 10) -> None:
    began = time.monotonic()
    poll_until_file_exist(file_path, timeout)
    poll_until_existing_file_not_empty(file_path, timeout - (time.monotonic() - began))


def poll_until_dir_empty(dir_path: str, timeout: float = 15) -> bool:
    """Whether a folder is empty, which is waited for."""
    return wait_until(lambda: not os.listdir(dir_path), timeout, POLL_S)


def poll_until_path_gone(path: str, timeout: float = 15) -> bool:
    """Whether nothing is at a path any more, which is waited for."""
    return wait_until(lambda: not os.path.exists(path), timeout, POLL_S)


def get_available_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("", 0))
        return free.getsockname()[1]
