"""Texts that try to become something else in a page, and a run that has each of them wherever a run keeps a text.

Those that run, run `window.PWN=1`. Nothing in a report may do so, ask the network, or be anything but text.
"""
from __future__ import annotations

import re

START = 1_795_500_000.0

MARKUP = [
    # A script, and what ends the element in which the text stands.
    "<script>window.PWN=1</script>",
    "</script><script>window.PWN=1</script>",
    "</SCRIPT\t><sCrIpT>window.PWN=1</sCrIpT>",
    "</script/x><script>window.PWN=1</script>",
    "</scr</script>ipt><script>window.PWN=1</script>",
    "<script\n>window.PWN=1</script\n>",
    "<script src=https://example.com/x.js></script>",
    "<script type=module>window.PWN=1</script>",
    "<script type=text/javascript src=data:text/javascript,window.PWN=1></script>",
    "<script nonce=x>window.PWN=1</script>",
    "<script>/*</script><script>*/window.PWN=1</script>",
    "</style><script>window.PWN=1</script>",
    "</title><script>window.PWN=1</script>",
    "</textarea></noscript></template><script>window.PWN=1</script>",
    "</xmp></plaintext></iframe></noembed><script>window.PWN=1</script>",
    "</select></option></table></svg></math><script>window.PWN=1</script>",
    "</body></html><script>window.PWN=1</script>",
    "</pre></code></td></tr></table><script>window.PWN=1</script>",
    "<plaintext><script>window.PWN=1</script>",
    "<xmp><script>window.PWN=1</script></xmp>",
    # Comments, and what only looks like one.
    "<!--<script>",
    "--><script>window.PWN=1</script>",
    "--!><script>window.PWN=1</script>",
    "<!--<script></script><script>window.PWN=1</script>-->",
    "<!--><script>window.PWN=1</script>-->",
    "<!---><script>window.PWN=1</script>-->",
    "<!--[if IE]><script>window.PWN=1</script><![endif]-->",
    "<![endif]--><script>window.PWN=1</script>",
    "<! foo><script>window.PWN=1</script>",
    "<?php echo 1 ?><script>window.PWN=1</script>",
    "<?xml-stylesheet href=javascript:window.PWN=1?>",
    "]]><script>window.PWN=1</script>",
    "<![CDATA[<script>window.PWN=1</script>]]>",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
    "<!--",
    "<!-- a -- b --!> c",
    # Elements that ask for something, or are given something to do.
    "<img src=x onerror=window.PWN=1>",
    "<img src=x onerror=alert(1)>",
    "\"><img src=x onerror=window.PWN=1>",
    "'><img src=x onerror=window.PWN=1>",
    "` ><img src=x onerror=window.PWN=1>",
    "<img src=x:x onerror&#61;window.PWN=1>",
    "<img/src='x'/onerror=window.PWN=1>",
    "<img srcset='//example.com/1x.png 1x, x 2x' onerror=window.PWN=1>",
    "<IMG SRC=\"jav&#x09;ascript:window.PWN=1\">",
    "<image src=x onerror=window.PWN=1>",
    "<picture><source srcset=//example.com/x><img src=x></picture>",
    "<body onload=window.PWN=1>",
    "<body background=//example.com/x>",
    "<iframe src=javascript:window.PWN=1>",
    "<iframe srcdoc='<script>parent.PWN=1</script>'>",
    "<iframe srcdoc=\"&lt;script&gt;parent.PWN=1&lt;/script&gt;\"></iframe>",
    "<frameset onload=window.PWN=1><frame src=//example.com>",
    "<object data=javascript:window.PWN=1>",
    "<object data=data:text/html;base64,PHNjcmlwdD5wYXJlbnQuUFdOPTE8L3NjcmlwdD4=></object>",
    "<embed src=javascript:window.PWN=1>",
    "<applet code=x archive=//example.com/x.jar></applet>",
    "<portal src=//example.com></portal>",
    "<base href=https://example.com/>",
    "<base target=_blank>",
    "<meta http-equiv=refresh content='0;url=javascript:window.PWN=1'>",
    "<meta http-equiv=refresh content='0;url=https://example.com/'>",
    "<meta http-equiv=Content-Security-Policy content=\"script-src *\">",
    "<link rel=stylesheet href=//example.com/x.css>",
    "<link rel=prefetch href=//example.com/x>",
    "<link rel=dns-prefetch href=//example.com>",
    "<form action=javascript:window.PWN=1><button>",
    "<form id=x></form><button form=x formaction=javascript:window.PWN=1>go</button>",
    "<input autofocus onfocus=window.PWN=1>",
    "<input type=image src=x onerror=window.PWN=1>",
    "<isindex action=javascript:window.PWN=1 type=submit>",
    "<select autofocus onfocus=window.PWN=1><option>x</select>",
    "<textarea autofocus onfocus=window.PWN=1>x</textarea>",
    "<keygen autofocus onfocus=window.PWN=1>",
    "<details open ontoggle=window.PWN=1>",
    "<dialog open onclose=window.PWN=1><form method=dialog><button>x</button></form></dialog>",
    "<video><source onerror=window.PWN=1></video>",
    "<video src=//example.com/x poster=//example.com/y autoplay></video>",
    "<audio src=x onerror=window.PWN=1></audio>",
    "<track src=//example.com/x onload=window.PWN=1>",
    "<marquee onstart=window.PWN=1>x</marquee>",
    "<b onmouseover=window.PWN=1>x</b>",
    "<b/onclick=window.PWN=1/x>x</b>",
    "<b id=drawer name=tree class=failure>x</b>",
    "<div tabindex=1 autofocus onfocus=window.PWN=1>x</div>",
    "<p contenteditable onbeforeinput=window.PWN=1>x</p>",
    "<x onanimationstart=window.PWN=1 style='animation: a 1s'>x</x>",
    "<custom-element onclick=window.PWN=1></custom-element>",
    "<slot name=x onslotchange=window.PWN=1></slot>",
    "<template shadowrootmode=open><script>window.PWN=1</script></template>",
    "<template><img src=x onerror=window.PWN=1></template>",
    "<noscript><p title='</noscript><img src=x onerror=window.PWN=1>'></noscript>",
    # Other languages within HTML.
    "<svg onload=window.PWN=1>",
    "<svg><script>window.PWN=1</script></svg>",
    "<svg/onload=window.PWN=1//",
    "<svg><a xlink:href=javascript:window.PWN=1><text y=9>x</text></a></svg>",
    "<svg><animate onbegin=window.PWN=1 attributeName=x dur=1s></svg>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload=window.PWN=1/>#x'/></svg>",
    "<svg><foreignObject><iframe src=javascript:window.PWN=1></foreignObject></svg>",
    "<svg><style>@import '//example.com/x.css';</style></svg>",
    "<math><mtext></mtext></math>",
    "<math href=javascript:window.PWN=1>x</math>",
    "<math><mi xlink:href=data:x,window.PWN=1>x</mi></math>",
    # What a parser that writes again what it read would turn into something else.
    "<svg></p><style><a id=\"</style><img src=x onerror=window.PWN=1>\">",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=x onerror=window.PWN=1&gt;\">",
    "<form><math><mtext></form><form><mglyph><style></math><img src=x onerror=window.PWN=1>",
    "<table><td><a href='javascript:window.PWN=1'></table><img src=x onerror=window.PWN=1>",
    "<listing>&lt;img src=x onerror=window.PWN=1&gt;</listing>",
    "<a href=\"`<img src=x onerror=window.PWN=1>`\">x</a>",
    "<p title=\"</p><img src=x onerror=window.PWN=1>\">",
    "<noembed><img title=\"</noembed><img src=x onerror=window.PWN=1>\"></noembed>",
    # Left open.
    "<", "<b", "<b title=\"", "<a href='", "</", "<!", "<?", "&", "&#", "&lt", "<table><tr><td>", "<li><li><ul>", "\"", "'",
    "`", "<b><i></b></i>", "<div" * 200,
]
ADDRESSES_AND_STYLES = [
    "<a href=javascript:window.PWN=1>x</a>",
    "<a href='java\tscript:window.PWN=1'>x</a>",
    "<a href='java\nscript:window.PWN=1'>x</a>",
    "<a href=' \x01javascript:window.PWN=1'>x</a>",
    "<a href=JaVaScRiPt:window.PWN=1>x</a>",
    "<a href='&#106;avascript:window.PWN=1'>x</a>",
    "<a href='javascript&colon;window.PWN=1'>x</a>",
    "<a href=data:text/html,<script>parent.PWN=1</script>>x</a>",
    "<a href=vbscript:window.PWN=1>x</a>",
    "<a href=blob:https://example.com/1>x</a>",
    "<a href=//example.com/x>x</a>",
    "<a href='https:javascript:window.PWN=1'>x</a>",
    "<a href='https://[::1'>x</a>",
    "<a ping=//example.com/x href=#x>x</a>",
    "<a target=_top href=file:///etc/passwd>x</a>",
    "javascript:window.PWN=1",
    "javascript://%0awindow.PWN=1",
    "data:text/html,<script>parent.PWN=1</script>",
    "https://example.com/\"onmouseover=\"window.PWN=1",
    "<style>*{background:url(//example.com)}</style>",
    "<style>@import url(//example.com/x.css);</style>",
    "<b style='background:url(//example.com/x)'>x</b>",
    "<b style=\"background:u\\72l(//example.com/x)\">x</b>",
    "<b style='width:expression(window.PWN=1)'>x</b>",
    "<b style='color:red;--x:url(//example.com/x);background:var(--x)'>x</b>",
    "<b style='font-family:a;position:fixed;inset:0;z-index:9'>x</b>",
    "<b style='color:red\\;position:fixed'>x</b>",
    "<div style=display:none>x</div>",
    "}*{display:none}/*",
]
CODE = [
    "{{script}}",
    "{{summary}}{{index}}{{policy}}",
    "${window.PWN=1}",
    "#{window.PWN=1}",
    "<%= window.PWN=1 %>",
    "{% raw %}{{ x }}{% endraw %}",
    "{{constructor.constructor('window.PWN=1')()}}",
    "[[${window.PWN=1}]]",
    "'; window.PWN=1; '",
    "\"; window.PWN=1; \"",
    "`;window.PWN=1;`",
    "\\'; window.PWN=1; //",
    "\\\"; window.PWN=1; //",
    "\"}]};window.PWN=1;//",
    "{\"$int\": \"<script>window.PWN=1</script>\"}",
    "\\",
    "\\\\u003cscript>",
    "\\u003cscript>window.PWN=1</script>",
    "\\x3cscript\\x3ewindow.PWN=1\\x3c/script\\x3e",
    "%3Cscript%3Ewindow.PWN=1%3C/script%3E",
    "&lt;script&gt;window.PWN=1&lt;/script&gt;",
    "&#60;script&#62;",
    "&#x3c;script&#x3e;window.PWN=1&#x3c;/script&#x3e;",
    "&amp;lt;script&amp;gt;",
    "&NewLine;&Tab;&nbsp;&ZeroWidthSpace;",
    "+ADw-script+AD4-window.PWN=1+ADw-/script+AD4-",
    "{0.__class__.__mro__}%s%n%(name)s{name!r}",
    "$(touch /tmp/x)`touch /tmp/x`;touch /tmp/x",
    "=HYPERLINK(\"https://example.com\")",
    "=cmd|' /C calc'!A0",
    "../../../../etc/passwd",
    "'; DROP TABLE task; --",
]
NAMES = ["__proto__", "constructor", "prototype", "toString", "valueOf", "hasOwnProperty", "__defineGetter__", "length", "then",
         "toJSON", "$int", "$cut", "undefined", "NaN", "null", "true", "0", "-1", "1e999", "on", "value", "type"]
CHARACTERS = [
    "a\u2028b\u2029window.PWN=1",
    "\u202egnp.exe\u2066",
    "\u202d\u2067turned\u2069\u202c",
    "\x00\x08\x1b[2Jgone",
    "\x1b]0;title\x07\x1b[31;1mred\x1b[0m",
    "\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\",
    "\x9b31mred\x85next",
    "a\rb\x0bc\x0cd",
    "\ud800 alone",
    "alone \udfff",
    "\udc00\ud800 turned",
    "\ufeffmark\ufeff",
    "zero\u200bwidth\u2060joiner\u00ad",
    "\ufffe\uffff\ufffd",
    "\u0130\u0131\u017f\u212a",
    "\uff1cscript\uff1ewindow.PWN=1\uff1c/script\uff1e",
    "\u2039script\u203a \ufe64img\ufe65",
    "e\u0301\u0301\u0301 a\u0308",
    "Z" + "\u0351" * 60,
    "\U0001f600\u200d\U0001f468 \U0001f1e9\U0001f1ea",
    "\u05e9\u05dc\u05d5\u05dd abc \u0645\u0631\u062d\u0628\u0627",
    "\u00a0\u3000\u2003 wide",
    "\t\ttabs\nand\nlines",
    " leading and trailing ",
    "x" * 5_000,
    "word " * 1_000,
    "\u4e2d" * 2_000,
]
PAYLOADS = [*MARKUP, *ADDRESSES_AND_STYLES, *CODE, *NAMES, *CHARACTERS]

_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def as_shown(text: str) -> str:
    """A text as a page has to show it: what is invisible as its code, the colours of a terminal not at all."""
    text = re.sub("\x1b\\[[0-9;]*m", "", text).replace("\r\n", "\n")
    return _INVISIBLE.sub(lambda char: f"\\u{ord(char[0]):04x}", text)


def texts_of(payload: str) -> dict[str, str]:
    """What stands in which field of the task of a payload: behind it the field's name, that each can be told."""
    return {field: f"{payload} @{field}" for field in (
        "name", "long_name", "uuid", "host", "argument", "default", "result", "exception", "traceback", "error_context",
        "attempt",
        "attempt_state", "incarnation", "worker", "state", "flame", "flame_object", "flame_key", "command", "word", "cwd",
        "command_host", "output_file", "output", "stderr", "log", "queue_name", "revoke_reason", "replayed_in", "cached_from")}


def hostile_task(num: int, payload: str) -> dict:
    """A failed task; the payload stands alone where a name may be one of JavaScript's own, and in every text."""
    text = texts_of(payload)
    attempt = {"incarnation": text["incarnation"], "worker": text["worker"], "started": START, "ended": START + 1,
               "state": text["attempt_state"], "exc": text["attempt"], "peak": 10, "cpu": 0.5}
    result = {"completed": True, "timeout": False, "returncode": 1, "output": text["output"], "stderr_output": text["stderr"],
              "output_truncated": False, "stderr_output_truncated": False}
    command = {"cmd": text["command"], "cwd": text["cwd"], "host": text["command_host"], "remote_host": text["command_host"],
               "output_file": text["output_file"], "start_time": START, "end_time": START + 1, "result": result}
    return {
        "num": num, "uuid": text["uuid"], "parent": None, "enqueued_by": None, "name": text["name"],
        "long_name": text["long_name"], "state": "failed", "chain_depth": 0, "plugin": False, "host": text["host"],
        "started": START + num, "runtime": 0.5, "queue": 0.1, "self": 0.5,
        "states": [["ready", START], [text["state"], START + 1], ["failed", START + 2]],
        "attempts": [{"n": 1, **attempt}, {"n": 2, **attempt}], "replayed_in": [text["replayed_in"]],
        "args": {payload: text["argument"], "deep": [{payload: [text["argument"]]}]},
        "defaults": {f"{payload}d": text["default"]},
        "result": {payload: text["result"]}, "exception": text["exception"],
        "traceback": f'Traceback:\n  File "{payload}", line 1, in {payload}\n    {text["traceback"]}\n',
        "cause": None, "error_context": text["error_context"],
        "flame_data": {payload: {"value": text["flame"], "type": "html", "order": 2},
                       text["flame_key"]: {"value": f"<b>{payload}</b>", "type": "html", "order": 1},
                       f"{payload}o": {"value": {payload: text["flame_object"]}, "type": "object", "order": 0}},
        "external_commands": {payload: command, f"{payload}2": {**command, "cmd": [text["word"], payload]}},
        "extra_parents": [], "cached_from": text["cached_from"], "queue_name": text["queue_name"],
        "revoke_reason": text["revoke_reason"], "due": None, "aside": False,
        "log": {"lines": [text["log"], payload], "total": 2, "truncated": False, "bytes_before": 0}}


def hostile_run() -> dict:
    """The model of a run with a failed task for every payload, and with all of them in each of its own texts."""
    everything = "".join(PAYLOADS)
    words = ("id", "firex_id", "chain", "host", "user", "python", "resume", "redacted")
    life = {"n": 1, "pid": 1, "host": everything, "started": START, "ended": START + 90, "end": everything}
    odd = {**hostile_task(len(PAYLOADS) + 1, everything), "state": everything, "exception": None, "traceback": None}
    return {
        "schema": "firexlite.flame/1", "generated_at": START + 100, "firexlite": "0.1.0",
        "run": {**dict.fromkeys(words, everything), "state": "failed", "started": START, "ended": START + 90, "root": 1,
                "snapshot": False, "inputs": {payload: payload for payload in PAYLOADS}, "argv": [*PAYLOADS],
                "incarnations": [life, {**life, "n": 2}], "counts": {everything: 1}, "truncated": {everything: everything}},
        "tasks": [*(hostile_task(num, payload) for num, payload in enumerate(PAYLOADS, 1)), odd]}
