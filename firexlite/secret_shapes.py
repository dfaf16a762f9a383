"""What a secret looks like in a text: a key of a cloud, an address with a password in it, `token: ...`, a private key.

Every rule is a function from a text to the spans that it would take out. A rule looks around the places that it found,
but only so far: what it costs grows with the length of a text and no faster.
"""
from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

from .named_secrets import STEM, IsName, Span, in_small_letters, says_nothing, values_of_names
from .patterns import pattern
from .secret_names import is_secret_name

PIECE = 16 * 1024       # characters of a long text, looked at together
BEFORE_PIECE = 1024


def in_either_case(pattern: str) -> str:
    """A pattern of small letters, for capitals too: rules that tell them apart may stand beside it."""
    return re.sub(r"\\.|\[[^]]*\]|[a-z]",
                  lambda part: f"[{part[0]}{part[0].upper()}]" if part[0].isalpha() else part[0], pattern)


# A text in which none of these stands holds no secret. `re` is fast where all alternatives begin with a character of their
# own, and the rarer these are, the faster: hence the looks behind.
_SUSPICIOUS = pattern("|".join([
    *(letter + in_either_case(f"(?:{rest})") for lower, rest in (
        ("p", r"ass(?!e[dns]|ing|age|ive)|w|sk|rivate|ypi-|(?<=ldap)"),
        ("k", r"ey(?<=[^\"'{(]key)|(?<=tok)en|(?<=cook)ie|(?<=\bsk)[-_]|(?<=rk)_|(?<=hook)s?[./]|(?<=dock)er\W{1,6}login"),
        ("c", r"red|(?<=sec)ret|(?<=whsec)_"),
        ("u", r"(?<=au)th(?!ors?\b)|(?<=cu)rl"),
        ("b", r"earer|asic "),
        ("x", r"ox[a-z]-|app-\d|-(?:amz|goog)-s|(?<=gocspx)-"),
        ("j", r"wt|(?<=eyj)"),
        ("q", r"(?<=mysq)l"),
    ) for letter in (lower, lower.upper())),
    r":(?=//[^\s\"'<>]{0,300}@)", r"_(?:(?<=gh[pousr]_|npm_|pat_)|(?<=hf_|v1_))", r"A(?:KIA|SIA|Iza)",
    r"-(?:(?<=glpat-|glptt-|glcbt-)|(?<=gldt-|glrt-|glft-)|(?<=glsoat-))",
    r"\.(?<=SG\.|29\.|vs\.)", r"&sig=", r"\?sig=", r"LS0tLS1", r"\$bytes",
]))


def is_suspicious(text: str) -> bool:
    """False if no rule can find anything in ``text``, nor in the texts of which it is the JSON or the `repr`."""
    return _SUSPICIOUS.search(text) is not None


def spans(text: str, is_name: IsName = is_secret_name, named: re.Pattern[str] | None = None) -> Iterator[Span]:
    """What to take out, in no order; spans may overlap. named: finds in small letters the names that only ``is_name`` knows."""
    yield from _private_keys(text)
    for start, end in _pieces(text):
        piece = text[start:end]
        own_names = [] if named is None else [named]
        if is_suspicious(piece) or (own_names and own_names[0].search(in_small_letters(piece))):
            for rule in (_in_addresses, _keys_of_services, _in_authorizations, of_programs):
                yield from ((start + one, start + other) for one, other in rule(piece))
            for pattern in (STEM, *own_names):
                yield from ((start + one, start + other) for one, other in values_of_names(piece, is_name, pattern))


def _pieces(text: str) -> Iterator[Span]:
    """Lines, some thousand characters of them at a time, with some of those before: most of a long log holds no secret."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + PIECE) + 1 or len(text)
        yield text.rfind("\n", 0, max(0, start - BEFORE_PIECE)) + 1, end
        start = end


# --- by their shape ----------------------------------------------------------------------------------

_EDGE = pattern(r"-{4,5} ?(BEGIN|END) [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_BREAK = r"(?:\r?\n|\\r\\n|\\n)"                      # also as JSON and `repr` write it
_LINE = pattern(r"[ \t\"'|]*(?:[A-Za-z0-9+/]*={0,2}|=[A-Za-z0-9+/]{4}"
                rf"|(?:Proc-Type|DEK-Info|Comment|Version|Hash): [^\n]{{0,200}}?)[ \t,\"']*{_BREAK}")
_LAST_LINE = pattern(r"[ \t\"'|]*[A-Za-z0-9+/]*={0,2}")
_END_OF_BASE64 = pattern(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{16,99}$")
_BASE64_LINE = pattern(r"=?[A-Za-z0-9+/]+={0,2}")
LONGEST_LINE = 4 * 1024
LONGEST_COMMAND = 200


def _private_keys(text: str) -> Iterator[Span]:
    """Bodies of PEM blocks, also where one of its ends is cut off."""
    edges = list(_EDGE.finditer(text))
    for n, edge in enumerate(edges):
        following = edges[n + 1] if n + 1 < len(edges) else None
        if edge[1] == "BEGIN":
            end = following.start() if following and following[1] == "END" else _end_of_body(text, edge.end())
            yield _trimmed(text, edge.end(), end)
        elif n == 0 or edges[n - 1][1] == "END":
            yield _trimmed(text, _begin_of_body(text, edge.start()), edge.start())


def _end_of_body(text: str, at: int) -> int:
    while (line := _LINE.match(text, at)) and line.end() > at:
        at = line.end()
    last = _LAST_LINE.match(text, at)
    return last.end() if last else at


def _begin_of_body(text: str, end: int) -> int:
    """Up over the lines of base64, of which the last one may be short, and the first one where it was cut."""
    at, is_last = end, True
    while at > 0:
        stop = _without_break(text, at)
        lowest = max(0, stop - LONGEST_LINE)
        escaped = text.rfind("\\n", lowest, stop)
        begin = max(text.rfind("\n", lowest, stop) + 1, escaped + 2 if escaped >= 0 else 0, lowest)
        line = text[begin:stop].strip(" \t|\"',")
        if line and not (_BASE64_LINE.fullmatch(line) and (len(line) >= 16 or is_last or begin == 0)):
            cut = _END_OF_BASE64.search(line[-100:])  # of the first line, behind what somebody put in front of it all
            return at if at == end or cut is None else text.rfind(cut[0], begin, stop)
        is_last = is_last and not line
        at = begin
    return at


def _without_break(text: str, at: int) -> int:
    for size, written in ((4, "\\r\\n"), (2, "\\n"), (2, "\r\n"), (1, "\n")):
        if text.endswith(written, 0, at):
            return at - size
    return at


def _trimmed(text: str, start: int, end: int) -> Span:
    body = text[start:end]
    kept = re.match(rf"(?:{_BREAK}|\s)*", body)
    start += kept.end() if kept else 0
    end = max(start, _without_break(text, end))
    return start, end


_USERINFO = pattern(r"""://(?:(?P<user>[^\s/?#"'<>@:\\]{0,128}):(?:
      (?P<password>[^\s/?#"'<>]{1,256})
    | (?!\d{1,5}[/?#])(?P<odd>[^\s"'<>@]{1,256})          # a slash in a password is not correct, and happens
    ) | (?P<only>[\w.~%-]{20,256}) )@(?=[\w\[])""", re.VERBOSE)


def _in_addresses(text: str) -> Iterator[Span]:
    """`scheme://user:PASSWORD@host`, and one long word before the `@`, which is a token."""
    for found in _USERINFO.finditer(text):
        part = next(name for name in ("password", "odd", "only") if found[name])
        if not says_nothing(found[part]):
            yield found.span(part)


# Each begins with a letter, so that `re` is fast; what may stand before it is looked at then. A group is the secret, if any.
_ALONE = r"(?:(?<![A-Za-z0-9].)|(?<=\\[nrt].))"  # no word goes on here; an escaped line may end
_SHAPES = pattern("|".join([
    r"A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])",                                             # AWS
    r"gh[pousr]_[A-Za-z0-9]{30,255}", r"github_pat_\w{22,255}",                             # GitHub
    r"gl(?:pat|ptt|dt|rt|cbt|ft|soat)-[\w.-]{20,255}",                                     # GitLab
    r"xox[a-z]-[\w-]{10,255}", r"xapp-\d-[\w-]{10,255}",                                   # Slack
    r"hooks\.slack\.com/services/([\w/]{20,99})", r"api/webhooks/(\d{5,30}/[\w-]{20,99})",  # and Discord
    r"webhook\.office\.com/([\w/@-]{30,255})",
    r"AIza[\w-]{35}", r"ya29\.[\w-]{20,1024}", r"GOCSPX-[\w-]{20,99}",                      # Google
    r"sk_(?:live|test)_\w{16,255}", r"rk_(?:live|test)_\w{16,255}", r"whsec_[\w+/=]{20,99}",  # Stripe
    rf"n{_ALONE}pm_[A-Za-z0-9]{{36}}", r"pypi-[\w-]{32,1024}",
    rf"s{_ALONE}k-(?=[\w-]{{0,99}}\d)[A-Za-z0-9_-]{{20,255}}", rf"h{_ALONE}f_[A-Za-z0-9]{{30,99}}",
    r"SG\.[\w-]{16,99}\.[\w-]{16,99}", r"hvs\.[\w-]{20,255}", r"dckr_pat_[\w-]{20,99}",
    r"do[opr]_v1_[0-9a-f]{64}",
    r"e(?:(?<![\w-].)|(?<=\\[nrt].))yJ[\w-]{8,4096}\.eyJ[\w-]{4,8192}(?:\.[\w-]{0,2048})?",  # JWT
    r"s(?<=[?&]s)ig=([\w%+/=-]{16,255})", r"Signature=([0-9a-f]{40,1024})",                 # signed addresses
]))
_PEM_AGAIN_ENCODED = pattern(r"LS0tLS1CRUdJTi[A-Za-z0-9+/]{20,}={0,2}")


def _keys_of_services(text: str) -> Iterator[Span]:
    """Keys that can be told by how they begin."""
    for found in _SHAPES.finditer(text):
        yield found.span(found.lastindex or 0)
    for found in _PEM_AGAIN_ENCODED.finditer(text):
        if b"PRIVATE KEY" in _decoded(found[0][:96]):
            yield found.span()


_AUTHORIZATION = pattern(r"[Bb](?:earer|EARER)(?:\s{1,4}|%20)(?=[^\s\"']{0,99}\d|[\w.~+/=-]{24})([\w.~+/=-]{6,4096})"
                         r"|[Bb](?:asic|ASIC)(?:\s{1,4}|%20)([A-Za-z0-9+/]{6,1024}={0,2})")


def _in_authorizations(text: str) -> Iterator[Span]:
    """`Bearer TOKEN`, and `Basic` with what is the base64 of `user:password`."""
    for found in _AUTHORIZATION.finditer(text):
        if found[1]:
            yield found.span(1)
        elif re.fullmatch(rb"[^\x00-\x1f:]*:[^\x00-\x1f]*", _decoded(found[2])):
            yield found.span(2)


def _decoded(text: str) -> bytes:
    """As many bytes as a base64 has, that may have been cut."""
    try:
        return base64.b64decode(text.rstrip("=")[:len(text.rstrip("=")) // 4 * 4] if len(text) % 4 else text)
    except binascii.Error:
        return b""


_OPTION = pattern(r"-(?<=[\s\"']-)(p|w|u|U|-user|-proxy-user)[\s=\"',]{0,8}([^\s\"',-][^\s\"',]*)")
_TAKES = {"p": pattern(r"sshpass[\s\"',]{1,8}$|mysql|(?:docker|podman|registry)\W{1,6}login"), "w": pattern("ldap")}
_TAKES_USER = pattern("curl")
_NETRC = pattern(r"login\s{1,4}\S{1,80}\s{1,4}password\s{1,4}(\S{1,256})")


def of_programs(text: str) -> Iterator[Span]:
    """What stands behind the short options of well-known programs: `curl -u user:PASSWORD`."""
    for found in _OPTION.finditer(text):
        takes = _TAKES.get(found[1], _TAKES_USER)
        command = re.split(r"[\n;|&]", text[max(0, found.start() - LONGEST_COMMAND):found.start()])[-1]
        user, colon, _ = found[2].partition(":")
        start = found.start(2) + (len(user + colon) if takes is _TAKES_USER else 0)
        if takes.search(command) and (colon or takes is not _TAKES_USER) and not says_nothing(text[start:found.end()]):
            yield start, found.end()
    for found in _NETRC.finditer(text):
        yield found.span(1)
