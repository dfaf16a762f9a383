"""Which names say that their value is a secret: `db_password`, `apiKey`, `X-Auth-Token`; and which only sound like it."""
from __future__ import annotations

import functools

from .patterns import pattern

_WORDS = pattern(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# Wherever it stands in a name, unless what follows tells something about the secret only, as in `token_count`.
STRONG = frozenset({"password", "passwords", "passwd", "passphrase", "passcode", "passwort", "kennwort", "pwd", "secret",
                    "secrets", "token", "tokens", "apikey", "apikeys", "credential", "credentials", "authorization", "jwt",
                    "psk", "bearer"})
# At the end of a name: `smtp_auth`, but not `auth_method`.
WEAK = frozenset({"auth", "pass", "pw", "private", "cookie", "cookies", "cred", "creds"})
# A word in small letters may be two: `dbpassword`, `clientsecret`; but not `bypass` or `encompass`.
_GLUED = pattern(r".*(?:passwords?|passwd|passphrase|passcode|passwort|secrets?|tokens?|credentials?"
                 r"|(?:api|auth|access|account|admin|encryption|master|private|secret|shared|signing|ssh)keys?)"
                 r"|(?:db|ftp|git|http|ldap|login|mail|my|pg|proxy|root|smtp|ssh|sudo|user)pass|my(?:sql)?pwd|xauth|.*basicauth")
# A key is a secret if it is one of these.
KEYS = frozenset({
    "access", "account", "admin", "api", "app", "auth", "client", "consumer", "decryption", "deploy", "encryption", "hmac",
    "license", "master", "preshared", "private", "rsa", "secret", "session", "shared", "signing", "ssh", "ssl", "storage",
    "subscription", "tls", "vault", "webhook", "wep", "wpa"})
# What follows the name of a secret and is the secret still.
_STILL_THE_SECRET = frozenset({"b64", "base", "code", "content", "data", "digest", "hash", "header", "headers", "info", "key",
                               "keys", "new", "old", "pem", "plain", "string", "text", "value", "values"})
# What tells something about a secret. A word before it: `no_auth`; a word after it: `token_type`.
_BEFORE = frozenset({"allow", "ask", "count", "disable", "enable", "has", "is", "max", "min", "need", "needs", "next", "no",
                     "num", "page", "continuation", "public", "require", "requires", "skip", "total", "unexpected", "use",
                     "with", "without"})
_AFTER = frozenset({
    "age", "alg", "algorithm", "arn", "at", "attempts", "bucket", "budget", "class", "count", "counts", "created", "dir",
    "directory", "enabled", "endpoint", "env", "error", "estimate", "expired", "expires", "expiration", "expiry", "field",
    "file", "filename", "files", "folder", "format", "guard", "hint", "host", "id", "ids", "index", "issuer", "jar",
    "kind", "label", "len", "length", "lifetime", "limit", "limits", "location", "manager", "max", "method", "min", "missing",
    "mode", "name", "names", "path", "paths", "per", "policy", "pool", "position", "prefix", "prompt", "provider", "rate",
    "ref", "refs", "regex", "required", "ring", "rotation", "scheme", "scope", "scopes", "server", "size", "source", "span",
    "status", "stdin", "store", "stream", "strength", "timeout", "ttl", "type", "types", "uri", "url", "usage", "used",
    "valid", "version"})


@functools.lru_cache(maxsize=16 * 1024)
def is_secret_name(name: str) -> bool:
    """Whether a value of this name is a secret."""
    words = [word.lower() for word in _WORDS.findall(name[:128])]
    for at in range(len(words) - 1, -1, -1):
        if not _is_secret_word(words, at):
            continue
        following = [word for word in words[at + 1:] if word not in _STILL_THE_SECRET]
        if words[at] == "secret" and following == ["id"]:
            return True  # so Vault calls the password of a machine
        if following and (words[at] in WEAK or not _AFTER.isdisjoint(following)):
            return False
        return not (words[:1] != [words[at]] and words[0] in _BEFORE)
    return False


def _is_secret_word(words: list[str], at: int) -> bool:
    word = words[at]
    if word in ("key", "keys"):
        return at > 0 and words[at - 1] in KEYS
    return word in STRONG or word in WEAK or _GLUED.fullmatch(word) is not None


def is_count(name: str, value: object) -> bool:
    """Whether a number says how many: of tokens that were used, of tests that pass."""
    words = [word.lower() for word in _WORDS.findall(name[-64:])]
    return (isinstance(value, (int, float)) and bool(words)
            and ((words[-1] == "pass" and len(words) < 3) or words[-1] in ("tokens", "cookies", "secrets", "credentials")))
