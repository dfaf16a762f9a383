"""Values in a text that a name makes secrets: `password=...`, `"api_key": "..."`, `--token ...`, `<secret>...</secret>`."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from .patterns import pattern
from .secret_names import is_count

LONGEST = 8 * 1024      # characters of one value
LONGEST_NAME = 64
LONGEST_LINE = 1024     # of source

Span = tuple[int, int]  # from, to
IsName = Callable[[str], bool]

STEM = pattern("pass(?!ed|ing|age|ive)|pw|secret|token|key|auth|cred|cookie|private|kennwort|jwt|psk|bearer")
CELL, ROW = "\x00", "\x02"  # stand at both ends of a cell of a table, and of a line of it
_CAPITALS = {65 + n: 97 + n for n in range(26)}
_NAME = pattern(rf"[\w.-]{{0,{LONGEST_NAME}}}")

# What may stand between a name and its value. A quote may have been escaped by those who wrote one text into another.
_BREAK = r"(?:\r?\n|\\r\\n|\\n)"
_QUOTE = r"(?:\\*[\"'`])"
_TYPE = r"(?:str|bytes|string|SecretStr|Any|Optional\[\w{1,20}\]|\w{1,20} \| None)"
_EQUALS = pattern(rf"{_QUOTE}?\]?[ \t]{{0,40}}(?::[ \t]{{0,4}}{_TYPE}[ \t]{{0,4}}=|=>|:=|!?={{1,3}}|:(?![:/]))[ \t]{{0,40}}"
                  rf"(?:[|>][+-]?[ \t]{{0,40}}{_BREAK}\s{{0,40}})?")
# name: ..., value: ...
_VALUE_BESIDE = pattern(rf"{_QUOTE}?,?[ \t]{{0,40}}{_BREAK}?\s{{0,40}}{_QUOTE}?[Vv]alue{_QUOTE}?\s{{0,8}}[:=]\s{{0,8}}")
_NEXT_WORD = pattern(rf"{_QUOTE},\s{{0,40}}(?={_QUOTE})|[ \t]{{1,8}}(?!-)")
_NEXT_CELL = pattern(rf"\s{{0,40}}{CELL}[\s{CELL}]{{0,80}}")
_END_OF_TAG = pattern(r"[^<>\"']{0,80}>")

# The values.
_OPENING = pattern(r"[bBuUrRfF]{0,2}(?P<slashes>\\*)(?P<quote>\"{3}|'{3}|[\"'`])")
_BRACKET = pattern(r"(?:[A-Z]\w{0,60})?[\[({](?![{%])")
_BRACKETS = pattern(r"[\[({]|[\])}]|\n")
_BARE = pattern(r"""(?: [^\s"'`&;,|)\]}\x00\x02]+ | ["'`](?=\w)
    | [&;,|](?! \s | $ | [\w.\- ]{1,40}[=:])
    | [)\]}](?! [\s,;:.)\]}"'] | $ ) )+""", re.VERBOSE)
_CELL_TEXT = pattern(rf"[^{CELL}{ROW}]{{1,{LONGEST}}}")
_UP_TO_A_TAG = pattern(r"[^<\n]+")
_REST_OF_LINE = pattern(r"[^\n\r]{1,4096}")
_SCHEME = pattern(r"(?:basic|bearer|digest|token|negotiate|ntlm|apikey|oauth|hawk|ssws|splunk|key|signature"
                  r"|aws4-hmac-sha256)\s+", re.IGNORECASE)
_HEADERS = ("authorization", "cookie")

# Values that stand for a secret, or for none.
_NOTHING = pattern(r"""
    (?: none | null | nil | undefined | true | false | yes | no | on | off | default | empty | unset | unknown | missing
      | required | optional | invalid | valid | expired | incorrect | wrong | hidden | redacted | masked | removed | enabled
      | disabled | basic | digest | oauth2? | ldap | kerberos | saml | sso | ntlm | negotiate
      | str | string | bytes | int | bool | float | dict | list | any | object | optional\[.* ) [.!?]?
  | [*x\u2022.]{3,} | \*+ | [-_]+
  | \$\{[^{}]*\} | \{\{.*\}\} | \$\([^()]*\)? | %s | %\(\w+\)s | %[A-Z_]+% | <[a-z][a-z _-]*>
  | ["']* \[(?:redacted|secret\ [^\]]*)\]? ["']* | Secret\(.*""", re.VERBOSE | re.IGNORECASE)
_VARIABLE = pattern(r"\$[A-Z_][A-Z0-9_]*|\{[a-z_][\w.\[\]]*\}")
_HOLE = pattern(r"(?:\$?\{[\w.\[\]:-]{1,80}\}|\$?\{\{[^{}\n]{0,200}\}\}"
                r"|\[(?:redacted|secret [^\]\n]{0,200})\]|Secret\([^()\n]{0,200}\))(?!\w)")
_PLACE = pattern(r"(?:~|\.{1,2}|[A-Za-z]:)?(?:[/\\][\w .-]+){2,}")


def says_nothing(value: str, name: str = "") -> bool:
    """Whether a value of this name is readable by all: a mask, a word like `expired`, the place of a key."""
    return (not value.strip() or _NOTHING.fullmatch(value) is not None or _VARIABLE.fullmatch(value) is not None
            or (_may_be_a_place(name) and _PLACE.fullmatch(value) is not None))


def _may_be_a_place(name: str) -> bool:
    small = name.lower()
    return small in ("pwd", "oldpwd") or (small.endswith(("key", "keys")) and "secret" not in small and "api" not in small)


def in_small_letters(text: str) -> str:
    """Each letter stays where it was; `str.lower` makes two of some."""
    small = text.lower()
    return small if len(small) == len(text) else text.translate(_CAPITALS)


def values_of_names(text: str, is_name: IsName, stem: re.Pattern[str] = STEM) -> Iterator[Span]:
    """The values of all names which are secret. stem: finds a part of such a name, in small letters."""
    small, at = in_small_letters(text), 0
    while found := stem.search(small, at):
        start, at = _around(text, found.start(), found.end())
        name = text[start:at]
        is_path = text[start - 1:start] == "/"
        if not is_path and is_name(_with_word_before(text, start, name)) and (span := _value_after(text, start, at)):
            yield span
            at = max(at, span[1])


# --- the name --------------------------------------------------------------------------------------------

def _around(text: str, start: int, end: int) -> Span:
    """The whole name of which a part stands there."""
    before = _NAME.match(text[max(0, start - LONGEST_NAME):start][::-1])
    after = _NAME.match(text, end)
    assert before is not None and after is not None  # they may be empty
    start, end = start - before.end(), after.end()
    if text[start - 1:start] == "\\" and text[start] in "nrt":
        start += 1  # the end of an escaped line, no letter
    while end > start + 1 and text[end - 1] in ".-":
        end -= 1
    return start, end


def _with_word_before(text: str, start: int, name: str) -> str:
    """`API key` is a name of two words."""
    if name.lower() not in ("key", "keys") or text[start - 1:start] != " ":
        return name
    return " ".join([*text[max(0, start - LONGEST_NAME):start].split()[-1:], name])


# --- its value -------------------------------------------------------------------------------------------

def _value_after(text: str, start: int, end: int) -> Span | None:
    name = text[start:end]
    quote = text[start - 1:start] if text[start - 1:start] in ("'", '"') else ""
    sign = _sign_after(text, start, end, name, quote)
    if sign is None or _HOLE.match(text, sign.end()) or (name == "PASS" and "=" not in sign[0]):
        return None  # so programs that test begin a line: `PASS: test_login`
    at, is_in_code = sign.end(), _is_code(text, start)
    opening, bracket = _OPENING.match(text, at), _BRACKET.match(text, at)
    if sign.re.pattern == _NEXT_CELL.pattern:
        stop = _end(_CELL_TEXT, text, at)
    elif sign.re.pattern == _END_OF_TAG.pattern:
        stop = _end(_UP_TO_A_TAG, text, at)
    elif opening:
        at = opening.end()
        stop = _closing_quote(text, at, opening["slashes"], opening["quote"])
    elif bracket and not (is_in_code and bracket[0].endswith("{")):
        at = bracket.end()
        stop = _closing_bracket(text, at)
        if is_in_code and not re.search("[\"']", text[at:stop]):
            return None
    elif is_in_code:
        return None  # a value that is a secret stands in quotes there
    elif name.lower().endswith(_HEADERS):
        at, stop = _rest_of_header(text, at, quote)
    else:
        stop = _end_of_bare_value(text, name, at, quote if sign[0].strip() == ":" else None)
    value = text[at:stop]
    return None if value == name or is_count(name, _number(value)) or says_nothing(value, name) else (at, stop)


def _sign_after(text: str, start: int, end: int, name: str, quote: str) -> re.Match[str] | None:
    """What says that a value follows."""
    if sign := _NEXT_CELL.match(text, end) or _EQUALS.match(text, end) or _VALUE_BESIDE.match(text, end):
        return sign
    if name.startswith("-") or (quote and text[start - 2:start - 1] == "("):
        return _NEXT_WORD.match(text, end)
    return _END_OF_TAG.match(text, end) if text[start - 1:start] == "<" else None


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _up_to(text: str, stop: str, at: int) -> int:
    found = text.find(stop, at, at + LONGEST)
    return min(len(text), at + LONGEST) if found < 0 else found


def _closing_quote(text: str, at: int, slashes: str, quote: str) -> int:
    """Where a string ends that was opened by a quote behind so many backslashes; or its line, if that never ends."""
    line_end = _up_to(text, "\n", at) if len(quote) == 1 else min(len(text), at + LONGEST)
    end = text.find(quote, at, line_end)
    while end >= 0:
        before = end
        while before > at and text[before - 1] == "\\":
            before -= 1
        if end - before <= len(slashes):
            return before
        if not slashes and (end - before) % 2 == 0:
            return end  # the backslashes stand for themselves
        end = text.find(quote, end + 1, line_end)
    return line_end


def _closing_bracket(text: str, at: int) -> int:
    """Where the bracket closes that was opened before ``at``; else where the line ends."""
    depth = 1
    for found in _BRACKETS.finditer(text, at, at + LONGEST):
        depth += 1 if found[0] in "[({" else -1
        if depth == 0 or found[0] == "\n":
            return found.start()
    return min(len(text), at + LONGEST)


def _end_of_bare_value(text: str, name: str, at: int, quote: str | None) -> int:
    """Where a value ends that stands in no quotes. quote: before the name, if a colon follows; else None."""
    if quote is not None and name.lower().endswith("passphrase"):  # four words of it, often
        line_end = _up_to(text, "\n", at)
        found = text.find(quote, at, line_end) if quote else -1
        return found if found >= 0 else line_end
    stop = _end(_BARE, text, at)
    while stop > at and text[stop - 1] == "\\" and text[stop:stop + 1] in ("'", '"'):
        stop -= 1
    return stop


def _rest_of_header(text: str, at: int, quote: str) -> Span:
    """The value of a header, which ends with its line, or with the quotes in which the header stands."""
    end = _end(_REST_OF_LINE, text, at)
    for stop in filter(None, (quote, "\\n", "\\r", CELL)):
        found = text.find(stop, at, end)
        end = found if found >= 0 else end
    scheme = _SCHEME.match(text, at, end)
    return scheme.end() if scheme else at, end


_FRAME = pattern(r"[ |+]*File \"[^\"\n]+\", line \d+")


def _is_code(text: str, at: int) -> bool:
    """Whether the place is in the source that a traceback quotes."""
    begin = _begin_of_line(text, at)
    for _ in range(8):
        if not text.startswith(("    ", "  |  "), begin):
            return _FRAME.match(text, begin) is not None
        if begin == 0:
            return False
        begin = _begin_of_line(text, begin - 1)
    return False


def _begin_of_line(text: str, at: int) -> int:
    return text.rfind("\n", max(0, at - LONGEST_LINE), at) + 1
