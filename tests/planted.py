"""Secrets as people leave them in arguments, logs and errors; and what only looks like one.

Every secret is made here, when it is asked for: none stands in this file, where programs that look for secrets would find it.
"""
from __future__ import annotations

import base64
import json
import random
import string
from dataclasses import dataclass

LETTERS = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


@dataclass(frozen=True)
class Planted:
    """A text as somebody wrote it, and what nobody may read in it."""

    kind: str
    text: str
    secrets: tuple[str, ...]


def planted() -> list[Planted]:
    """Each with secrets of its own; always the same ones."""
    return [*_by_shape(), *_in_addresses(), *_by_name(), *_of_programs(), *_private_keys()]


class _Made:
    """Makes what has to look like chance, the same at each run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def __call__(self, size: int, alphabet: str = LETTERS) -> str:
        return "".join(self.random.choice(alphabet) for _ in range(size))

    def word(self) -> str:
        return f"hunter{self(3, string.digits)}-{self(6)}"


def _by_shape() -> list[Planted]:
    made = _Made(1)
    shapes = {
        "AWS": "AK" + "IA" + made(16, string.ascii_uppercase),
        "AWS, for a while": "AS" + "IA" + made(16, string.ascii_uppercase),
        **{f"GitHub {kind}": f"gh{kind}" + "_" + made(36) for kind in "posur"},
        "GitHub, fine": "github" + "_pat_" + made(22) + "_" + made(59), "GitLab": "gl" + "pat-" + made(20),
        "GitLab, of a runner": "gl" + "rt-" + made(20), "Slack": "xo" + "xb-" + made(12, string.digits) + "-" + made(24),
        "Slack app": "xa" + "pp-1-A" + made(10) + "-" + made(30), "Google": "AI" + "za" + made(35),
        "Google, OAuth": "ya" + "29." + made(60), "Google, client": "GOC" + "SPX-" + made(28),
        "Stripe": "sk" + "_live_" + made(24), "Stripe, restricted": "rk" + "_test_" + made(24),
        "Stripe, webhook": "wh" + "sec_" + made(32), "npm": "np" + "m_" + made(36), "PyPI": "py" + "pi-" + made(90),
        "OpenAI": "s" + "k-proj-" + made(48), "Hugging Face": "h" + "f_" + made(34),
        "SendGrid": "S" + "G." + made(22) + "." + made(43), "Vault": "hv" + "s." + made(24),
        "Docker": "dckr" + "_pat_" + made(27), "DigitalOcean": "dop" + "_v1_" + made(64, HEX),
        "JWT": ".".join(_base64(json.dumps({name: made(30)}), urlsafe=True) for name in ("alg", "sub")) + "." + made(43),
        "a private key again in base64": _base64("-----BEGIN RSA PRIV" + "ATE KEY-----\n" + made(90)),
    }
    hook = made(9, string.ascii_uppercase) + "/" + made(24)
    discord, signature, sas = made(18, string.digits) + "/" + made(60), made(64, HEX), made(43) + "%3D"
    return [*(Planted(kind, f"sent {secret} to them", (secret,)) for kind, secret in shapes.items()),
            Planted("Slack hook", f"POST https://hooks.slack.com/services/T{hook}: 200", (hook,)),
            Planted("Discord hook", f"curl https://discord.com/api/webhooks/{discord}", (discord,)),
            Planted("AWS signature", f"GET https://s3/x?a=b&X-Amz-Signature={signature}", (signature,)),
            Planted("Azure signature", f"GET https://x.blob/y?sv=2024&sig={sas}&se=1", (sas,))]


def _in_addresses() -> list[Planted]:
    made = _Made(2)
    texts = [
        "https://li:{}@example.org/repo.git", "cloning 'https://oauth2:{}@gitlab/x'", "postgresql+psycopg://app:{}@db:5432/x",
        "redis://:{}@cache/0", "amqp://guest:{}@mq//", "ftp://li:{}/x@host/file", "https://li:{}@tail@host/x",
        "connecting to mongodb+srv://root:{}@m.example.org/?w=1", "http_proxy=http://me:{}@proxy:3128",
    ]
    return [Planted("address", text.format(secret := made(14)), (secret,)) for text in texts] + [
        Planted("token as user", f"git+https://{(secret := made(40, HEX))}@github.com/x/y", (secret,))]


def _by_name() -> list[Planted]:
    made = _Made(3)
    texts = [
        "password={}", "PASSWORD: {}", '{{"password": "{}"}}', "{{'api_key': '{}', 'n': 1}}", '{{\\"secret\\": \\"{}\\"}}',
        "connect(user='li', password='{}', host='x')", "Config(name='a', access_token='{}')", "export DB_PASSWORD={}",
        "-e GITHUB_TOKEN={} image", "env: API_TOKEN={}", "TOKEN: {}", "API key: {}", "X-Api-Key: {}", "x-auth-token: {}",
        "login --password {} --verbose", "login --token={} --verbose", "['login', '--api-key', '{}']",
        "GET /v1/users?access_token={}&page=2", "Server=db;Uid=li;Password={};Database=x",
        "DefaultEndpointsProtocol=https;AccountKey={};EndpointSuffix=x", "<password>{}</password>",
        "<add key='ClientSecret' value='{}'/>", "client_secret = \"{}\"", "os.environ['SECRET_KEY'] = '{}'",
        "- name: DB_PASSWORD\n  value: {}", '{{"name": "DB_PASSWORD", "value": "{}"}}', "[('password', '{}')]",
        "spring.datasource.password={}", "aws_secret_access_key = {}", "//registry.example.org/:_authToken={}",
        "password => '{}'", "password: |\n    {}", "auth=('li', '{}')", "passphrase: correct horse {} staple",
        "Authorization: Bearer {}", "authorization: token {}", "curl -H 'Authorization: Basic {}' x",
        "Proxy-Authorization: {}", "Cookie: session={}; theme=dark", "set-cookie: sid={}; HttpOnly",
        "send: b'GET / HTTP/1.1\\r\\nCookie: a={}\\r\\n\\r\\n'", "\x1b[36mpassword\x1b[0m=\x1b[35m{}\x1b[0m",
        "first\\napi_key={}\\nlast", "secret_id: {}", "password='{} is cut off", "token=Token('{}')", "psk: {}",
        "credentials: {}", "private_key: {}", "the header was Bearer {}",
        '  File "/x/y.py", line 3, in f\n    login("li", password="{}")',
        '  File "/x/y.py", line 3, in f\n    get(url, auth=("li", "{}"))', "machine example.org login li password {}",
    ]
    basic = _base64(f"li:{made(12)}")
    return [*(Planted("name", text.format(secret := made.word()), (secret,)) for text in texts),
            Planted("two words", f"password: \"{(one := made.word())} {(other := made.word())}\"", (one, other)),
            Planted("basic", f"Authorization is Basic {basic}", (basic,))]


def _of_programs() -> list[Planted]:
    made = _Made(4)
    texts = [
        "curl -s -u li:{} https://x", "sshpass -p {} ssh li@host", "sshpass -p{} scp a b", "mysql -uroot -p{} shop",
        "docker login -u li -p {} registry", "ldapsearch -x -D cn=li -w {} -b dc=x", "['curl', '-u', 'li:{}']",
        "openssl rsa -passin pass:{} -in x",
    ]
    return [Planted("program", text.format(secret := made.word()), (secret,)) for text in texts]


def _private_keys() -> list[Planted]:
    made = _Made(5)

    def block(kind: str, is_cut: str = "") -> Planted:
        lines = [made(64) for _ in range(6)] + [made(21) + "=="]
        begin, end = ("-----" + word + " " + kind + "PRIV" + "ATE KEY-----" for word in ("BEGIN", "END"))
        text = {"": "\n".join(["key:", begin, *lines, end, "done"]), "end": "\n".join(["key:", begin, *lines]),
                "begin": "\n".join([lines[0][20:], *lines[1:], end, "done"]),
                "json": json.dumps({"key": "\n".join([begin, *lines, end])})}[is_cut]
        return Planted(f"{kind}key {is_cut}", text, (lines[0][20:], *lines[1:]))
    return [block("RSA "), block(""), block("OPENSSH "), block("EC ", "end"), block("RSA ", "begin"), block("DSA ", "json")]


def _base64(text: str, urlsafe: bool = False) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") if urlsafe else base64.b64encode(text.encode()).decode()


INNOCENT = [
    "author: Ada Lovelace", "authors=[Li, Wu]", "passed: 12, failed: 0", "12 passed in 3.2s", "pass: 12 fail: 3",
    "PASS: test_login", "tokenize(text) -> 17 words", "tokenizer: bpe", "passenger: Li", "keyboard: de", "monkey=banana",
    "key: colour", "keyword=red", '{"private_notes": false}', '{"authenticated": true}', '{"token_count": 3}', "tokens: 512",
    "max_tokens=4096", "token_type: bearer", "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "de9f2c7fd25e1b3afad3e85a0bd17d9b100db4b3", "123e4567-e89b-12d3-a456-426614174000",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "md5 d41d8cd98f00b204e9800998ecf8427e  out/app.bin", "http://localhost:8080/x@y", "https://example.org/@scope/package",
    "ssh://git@github.com/x/y.git", "git@github.com:x/y.git", "mail li@example.org, see https://example.org:8443/a",
    "https://user@example.org/", "password=None", "password: ********", "token=<hidden>", "secret: ${DB_SECRET}",
    "password=$DB_PASSWORD", "token={{ vault.token }}", "f'https://{user}:{password}@{host}'",
    "login(user, password=password)", "def login(user: str, password: str):", "password: Optional[str]",
    "Password: [secret env:DB]", "PWD=/home/li/work", "OLDPWD=/", "SSH_AUTH_SOCK=/tmp/ssh-XX/agent.1",
    "password_file=/etc/app/password", "api_key_id: k1", "public_key: ssh-ed25519 AAAAC3Nza", "primary_key=id",
    "cat: /etc/passwd: Permission denied", "SyntaxError: unexpected token: }", "KeyError: 'password'",
    "missing 1 required positional argument: 'token'", "invalid credentials", "authentication: ldap", "auth_method=oauth2",
    "Bearer authentication is needed", "Basic information on the run", "--no-password --auth-type basic", "--password-stdin",
    "bypass=yes", "compass: north", "secretary: Wu", "the password is wrong", "cookie policy: none", "cookiecutter gh:x/y",
    "risk-assessment-of-the-long-named-module", "task-0123456789-abcdefghij", "global-config-for-production-1-and-2",
    "basic auth is off", "hotkey=ctrl-s", "session_id=17", "page_token=CAUQAA",
    '  File "/x/y.py", line 3, in f\n    token = os.environ["TOKEN"]',
    '  File "/x/y.py", line 3, in f\n    password = get_password(user)',
    '  File "/x/y.py", line 3, in f\n    self.login(token=self.token, auth=(user, word))',
    "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----", "ssh_key: ~/.ssh/id_ed25519",
    "curl -s https://x/y -o z", "docker login registry", "mysql --version", "sig=1", "tox -p auto", "unauthorized: 401",
    "credit: 17", "creditor: Li", "encompass: all", "whiskey=neat", "GPG_KEY=E3FF2839C048B25C084DEBE9B26995E310250568",
]
