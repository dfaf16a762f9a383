"""What looks like a secret is taken out of a report, and nothing else is."""
from __future__ import annotations

import base64
import json
import time

import pytest
from planted import INNOCENT, Planted, planted

from firexlite.errors import BadInput
from firexlite.redaction import MASK, Redactor
from firexlite.secret_names import is_secret_name

PLANTED = planted()


def leaks(told: object, secrets: tuple[str, ...]) -> list[str]:
    """Those of the secrets that can be read in ``told``, as it is or as JSON."""
    text = told if isinstance(told, str) else json.dumps(told)
    return [secret for secret in secrets if secret in text or json.dumps(secret)[1:-1] in text]


@pytest.fixture
def redactor():
    return Redactor()


# --- texts -----------------------------------------------------------------------------------------------

def test_there_are_enough_of_both_kinds():
    assert len(PLANTED) >= 100 and len(set(INNOCENT)) == len(INNOCENT) >= 80
    assert all(leaks(one.text, one.secrets) == list(one.secrets) for one in PLANTED)


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.kind)
def test_a_planted_secret_is_taken_out_of_a_text(redactor, one: Planted):
    shown = redactor.text(one.text)

    assert leaks(shown, one.secrets) == []
    assert MASK in shown and redactor.count >= 1


@pytest.mark.parametrize("text", INNOCENT)
def test_an_innocent_text_is_left_as_it_is(redactor, text):
    assert redactor.text(text) is text or redactor.text(text) == text
    assert redactor.count == 0


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.kind)
def test_raw_json_of_a_planted_secret_is_suspected(redactor, one: Planted):
    assert redactor.suspects(json.dumps({"x": one.text}))
    assert redactor.suspects(repr([one.text]))


def test_what_stands_around_a_secret_is_left(redactor):
    assert redactor.text("connect(user='li', password='hunter2', port=22)") == f"connect(user='li', password='{MASK}', port=22)"
    assert redactor.text("https://li:hunter2@host:22/x?q=1") == f"https://li:{MASK}@host:22/x?q=1"
    assert redactor.text("Authorization: Bearer abc1234567\nHost: x") == f"Authorization: Bearer {MASK}\nHost: x"
    assert redactor.text("a=1&token=abc&b=2") == f"a=1&token={MASK}&b=2"


def test_what_is_masked_already_is_not_counted_again(redactor):
    once = [redactor.text(one.text) for one in PLANTED]
    count = redactor.count

    assert [redactor.text(text) for text in once] == once
    assert redactor.count == count


@pytest.mark.parametrize("name", [
    "password", "PGPASSWORD", "dbPassword", "user-pass", "X-Auth-Token", "api_key", "APIKey", "clientSecret", "ssh_key", "jwt",
    "aws_secret_access_key", "Set-Cookie", "--password", "credentials", "private", "basic_auth", "password_2", "secret_id"])
def test_names_of_secrets(name):
    assert is_secret_name(name)


@pytest.mark.parametrize("name", [
    "author", "passed", "tokenize", "passenger", "keyboard", "monkey", "private_notes", "authenticated", "token_count", "key",
    "public_key", "auth_method", "max_tokens", "secret_name", "password_file", "bypass", "--no-password", "keys", "oauth"])
def test_names_that_only_sound_like_it(name):
    assert not is_secret_name(name)


@pytest.mark.parametrize("html, shown", [
    ("password: <code>hunter2</code>", f"password: <code>{MASK}</code>"),
    ("<table><tr><td>password</td><td>hunter2</td></tr></table>", f"<table><tr><td>password</td><td>{MASK}</td></tr></table>"),
    ("<tr><th>token</th>\n<td><b>one</b> two</td></tr>", f"<tr><th>token</th>\n<td><b>{MASK}</b></td></tr>"),
    ("<p>{&quot;api_key&quot;: &quot;hunter2&quot;}</p>", f"<p>{{&quot;api_key&quot;: &quot;{MASK}&quot;}}</p>"),
    ("<a href='https://li:hunter2@host/x'>x</a>", f"<a href='https://li:{MASK}@host/x'>x</a>"),
    ("<secret>hunter2</secret>", f"<secret>{MASK}</secret>"),
    ("<b>password</b>=hunter2<br>next", f"<b>password</b>={MASK}<br>next"),
    ("password=a&amp;hunter2</b>", f"password={MASK}</b>"),
    ("<th>user</th><th>password</th></tr><tr><td>li</td>", None),
    ("<b>passed</b>: 12 of <i>author</i>", None),
])
def test_markup_is_looked_at_as_it_is_read(redactor, html, shown):
    entry = {"value": html, "type": "html", "order": 1}

    task = redactor.task({"num": 1, "flame_data": {"shown": entry}})

    assert task["flame_data"]["shown"] == {**entry, "value": html if shown is None else shown}


# --- data ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", ["hunter2", 1234, 1.5, ["a"], {"a": 1}, {"$int": "9007199254740993"}])
def test_what_has_the_name_of_a_secret_is_taken_out_whatever_it_is(redactor, value):
    assert redactor.data({"deep": [{"db_password": value, "n": 1}]}) == {"deep": [{"db_password": MASK, "n": 1}]}
    assert redactor.count == 1


@pytest.mark.parametrize("data", [
    {"password": None, "token": "", "secret": [], "auth": {}, "private": False, "credentials": True},
    {"token_count": 3, "tokens": 512, "pass": 12, "private_notes": False, "authenticated": True},
    {"password": "[secret env:DB]", "token": "${TOKEN}", "pwd": "/home/li", "ssh_key": "/home/li/.ssh/id"},
    [1, None, True, 2.5, "author", {"key": "k", "keys": ["a", "b"]}], "plain", 17, None,
])
def test_data_without_secrets_are_the_very_same_objects(redactor, data):
    assert redactor.data(data) is data
    assert redactor.count == 0


def test_only_what_holds_a_secret_is_made_anew(redactor):
    data = {"a": {"b": [1, 2]}, "c": ["password=hunter2"]}

    new = redactor.data(data)

    assert new == {"a": {"b": [1, 2]}, "c": [f"password={MASK}"]}
    assert new["a"] is data["a"] and data["c"] == ["password=hunter2"]


@pytest.mark.parametrize("data, shown", [
    ([{"name": "DB_PASSWORD", "value": "hunter2"}], [{"name": "DB_PASSWORD", "value": MASK}]),
    ([["Cookie", "a=hunter2"], ["Host", "x"]], [["Cookie", MASK], ["Host", "x"]]),
    ({"https://li:hunter2@x": 1, "https://li:hunter3@x": 2}, {f"https://li:{MASK}@x": 1, f"https://li:{MASK}@x'": 2}),
    (["run", "--token", "hunter2"], ["run", "--token", MASK]),
    ({"$bytes": 16, "b64": base64.b64encode(b"password=hunter2").decode()}, {"$bytes": 16, "b64": MASK}),
    ('{"auth": ["li", "hunter2"]}', f'{{"auth": [{MASK}]}}'),
])
def test_names_are_known_where_they_stand_beside_their_values(redactor, data, shown):
    assert redactor.data(data) == shown


@pytest.mark.parametrize("words, shown", [
    (["--password", "hunter2"], ["--password", MASK]),
    (["--password=hun ter2"], [f"--password={MASK}"]),
    (["-e", "TOKEN=hun ter2"], ["-e", f"TOKEN={MASK}"]),
    (["--chain", "greet", "--db-password", "correct horse"], ["--chain", "greet", "--db-password", MASK]),
    (["curl", "-u", "li:hunter2", "https://x"], ["curl", "-u", f"li:{MASK}", "https://x"]),
    (["git", "clone", "https://li:hunter2@x/y"], ["git", "clone", f"https://li:{MASK}@x/y"]),
    (["--password", "--verbose", "x"], None), (["--no-auth", "x"], None), (["--author", "Li", "--key", "k"], None),
])
def test_command_lines_are_read_word_by_word(redactor, words, shown):
    assert redactor.argv(words) == (words if shown is None else shown)


# --- the model -------------------------------------------------------------------------------------------

def task_with(text: str) -> dict:
    """A task that has a text wherever it may have one, but in its names."""
    command = {"cmd": text, "cwd": text, "host": text, "output_file": text, "start_time": 1.0, "end_time": 2.0,
               "result": {"output": text, "stderr_output": text, "returncode": 0, "completed": True}}
    return {
        "num": 1, "uuid": "u-1", "name": "password", "long_name": "services.password", "state": "failed", "host": "here",
        "started": 1.0, "runtime": 0.5, "states": [["ready", 0.9]], "aside": False, "cause": None,
        "args": {"given": text, "deep": [{"x": [text]}], text: 1}, "defaults": {"given": text}, "result": {"x": text},
        "exception": text, "traceback": text, "error_context": text, "revoke_reason": text,
        "attempts": [{"n": 1, "exc": text, "state": "failed"}, {"n": 2, "exc": None}],
        "flame_data": {"text": {"value": text, "type": "html", "order": 1}, "data": {"value": {"x": text}, "type": "object"}},
        "external_commands": {"1": command, "2": {**command, "cmd": [text, text]}},
        "log": {"lines": text.split("\n"), "total": 40, "truncated": True, "bytes_before": 7}}


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.kind)
def test_no_field_of_a_task_shows_a_planted_secret(redactor, one: Planted):
    given = task_with(one.text)
    before = json.dumps(given)

    shown = redactor.task(given)

    assert {key: found for key, value in shown.items() if (found := leaks(value, one.secrets))} == {}
    assert (shown["name"], shown["long_name"], list(shown)) == ("password", "services.password", list(given))
    assert json.dumps(given) == before


@pytest.mark.parametrize("one", PLANTED, ids=lambda one: one.kind)
def test_no_fact_of_a_run_shows_a_planted_secret(redactor, one: Planted):
    run = {"id": "FireX-1", "chain": one.text, "inputs": {"x": one.text}, "argv": ["submit", one.text],
           "resume": one.text, "user": "token", "incarnations": [{"n": 1}], "redacted": 0}

    shown = redactor.run(run)

    assert leaks(shown, one.secrets) == []
    assert shown["user"] == "token" and shown["incarnations"] is run["incarnations"]


def test_a_task_without_secrets_is_the_very_same_object(redactor):
    task = task_with("an author passed a token count, a monkey had a keyboard")

    assert redactor.task(task) is task
    assert redactor.run(run := {"inputs": {"x": 1}, "argv": ["submit"], "state": "succeeded"}) is run


def test_a_log_whose_private_key_is_taken_out_says_how_many_lines_there_were(redactor):
    [block] = [one for one in PLANTED if one.kind == "RSA key "]
    lines = ["before", *block.text.split("\n"), "after"]

    log = redactor.task({"log": {"lines": lines, "total": 100}})["log"]

    assert log["lines"] == ["before", "key:", lines[2], MASK, lines[10], "done", "after"]
    assert log["total"] == 100 - len(lines) + len(log["lines"]) and redactor.count == 1


# --- what users add ----------------------------------------------------------------------------------------

def test_patterns_of_the_user_are_taken_out_too():
    redactor = Redactor(patterns=[r"PIN-\d+", r"badge (\w+)"])

    assert redactor.task({"args": {"x": "PIN-1234 for badge ab12"}})["args"] == {"x": f"{MASK} for badge {MASK}"}
    assert redactor.count == 2


def test_keys_of_the_user_are_taken_out_too():
    redactor = Redactor(keys=["door-code", "größe"])

    shown = redactor.task({"args": {"DOOR_CODE": 17, "doorCode": "x", "door": 1, "Größe": 4},
                           "exception": "door_code='1 2', code=3"})

    assert shown["args"] == {"DOOR_CODE": MASK, "doorCode": MASK, "door": 1, "Größe": MASK}
    assert shown["exception"] == f"door_code='{MASK}', code=3"
    assert redactor.suspects(json.dumps({"Größe": 4}))
    assert Redactor(keys=["door-code"]).suspects('{"DoorCode": 4}') and not Redactor(keys=["door-code"]).suspects("door")


@pytest.mark.parametrize("given, sentence", [
    ({"patterns": ["("]}, r"--redact takes a regular expression, and '\(' is none: "),
    ({"patterns": ["x*"]}, r"--redact takes a regular expression for what to take out, and 'x\*' matches the empty text too"),
    ({"keys": ["--"]}, "--redact-key takes the name of an argument or of a key, such as door_code"),
])
def test_what_is_no_pattern_and_no_name_is_refused(given, sentence):
    with pytest.raises(BadInput, match=sentence):
        Redactor(**given)


def test_redaction_can_be_off():
    redactor = Redactor(patterns=["hunter2"], is_on=False)
    task = task_with("password=hunter2")

    assert redactor.task(task) is task
    assert redactor.text("password=hunter2") == "password=hunter2"
    assert redactor.data({"password": "hunter2"}) == {"password": "hunter2"}
    assert redactor.count == 0


# --- time ------------------------------------------------------------------------------------------------

HOSTILE_UNITS = [
    "'\\''", "'\"'\"'token=", "password=", 'password="', "password='x ", r'password=\"', "password: [",
    "password={", "pass", "keykey", "tokentoken ",
    "secret ", "://", "://a:", "://a:b", "http://x:y ", "eyJ", "eyJ.", "eyJaaaaaaaa", "AKIA", "sk-", "curl ", "curl -u ",
    "mysql -p", "Bearer ", "bearer a", "Basic abcdefgh ", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n", "-", "&token=", "token=a;", "token=a, ", "<password>", "<password ", "\\", '\\"',
    "\\\\npassword=", "\x1b[31mtoken", "'", '"', "\n", "name: password\n", "LS0tLS1CRUdJTi", "A", "cookie: ",
    "authorization: ", "key value=", "a@", "--token ", "--token \n", '  File "x", line 1\n', "    password=x\n",
    "passphrase: ", "xoxb-", "password=)", "password=&", "İtoken=", "token=x\\n",
]


QUICK_UNITS = ("token=a;", "--token \n", r'password=\"', "://", "key value=")  # each of another rule
HOSTILE_MARKUP = ["<b>", "<b", "<td>token", "password=<b>", "&amp;", "&", "<td>", "token<td>=</td>", "<", "<!--", "</"]


@pytest.mark.parametrize("way, unit", [
    *(pytest.param("text", unit, marks=[pytest.mark.long] * (unit not in QUICK_UNITS)) for unit in HOSTILE_UNITS),
    *(("markup", unit) for unit in HOSTILE_MARKUP)])
def test_time_grows_with_the_text_and_no_faster(way, unit):
    def seconds(size: int) -> float:
        return _seconds(getattr(Redactor(), way), (unit * (size // len(unit) + 1))[:size])

    # Sixteen times the text; were it quadratic, it would be 256 times the time.
    ratios = (seconds(1024 * 1024) / max(seconds(64 * 1024), 0.002) for _ in range(3))
    assert any(ratio < 16 * 3 for ratio in ratios)


def test_a_hundred_thousand_innocent_tasks_are_gone_through_at_once():
    """Beside the time of a search for what is in none of them, so that the machine does not matter."""
    redactor = Redactor()
    task = task_with("release/2.4 of the router, built on build-17.example.org")
    told = [value for value in task.values() if isinstance(value, (str, dict, list))]

    ours = _seconds(lambda: [redactor.task(task) for _ in range(2000)])
    plain = _seconds(lambda: [json.dumps(told) for _ in range(2000)])

    assert ours < 5 * plain


def _seconds(work, *args: object) -> float:
    begin = time.process_time()  # of this process alone, however much else goes on
    work(*args)
    return time.process_time() - begin
