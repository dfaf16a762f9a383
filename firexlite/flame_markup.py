"""Flame data of type html, made harmless: a tree of allowed tags that the page builds element by element."""
from __future__ import annotations

import re
from html.parser import HTMLParser
from urllib.parse import urlsplit

from .patterns import pattern
from .showing import TAGS

VOID = frozenset({"br", "hr"})
STYLES = frozenset({"background-color", "color", "font-family", "font-size", "font-style", "font-weight",
                    "text-align", "text-decoration", "white-space"})
# Words, numbers, #rgb, quotes, and the commas of lists and of rgb(): nothing that can name an address.
STYLE_VALUE = pattern(r"[\w\s#%.,'\"-]+|(rgb|hsl)a?\([\d\s.,%]+\)", re.ASCII)

MAX_DEPTH = 40
MAX_NODES = 20_000

Node = str | list  # text, or [tag, {attribute: value}, [node, ...]]


def safe_tree(html: str) -> list[Node]:
    """``html`` as nodes ``"text"`` or ``[tag, attributes, children]``; what is not allowed is kept as text.

    Of the attributes only ``href`` (http, https) and ``style`` (``{property: value}``) remain.
    """
    builder = _Builder()
    builder.feed(html)
    builder.close()
    return builder.root


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root: list[Node] = []
        self.open: list[tuple[str, list[Node]]] = []  # the tags being filled, outermost first
        self.nodes = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS or len(self.open) >= MAX_DEPTH or self.nodes >= MAX_NODES:
            self.add_text(self.get_starttag_text() or "")
            return
        attributes, children = _safe_attributes(tag, dict(attrs)), list[Node]()
        if tag == "a" and "href" not in attributes:
            tag = "span"  # its address was refused; the words stay
        self.add([tag, attributes, children])
        if tag not in VOID:
            self.open.append((tag, children))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in TAGS - VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        names = [name for name, _ in self.open]
        name = "span" if tag == "a" and "a" not in names else tag
        if name in names:
            while self.open.pop()[0] != name:  # closes what was left open inside, too
                pass
        elif tag not in TAGS:
            self.add_text(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.add_text(data)

    def handle_comment(self, data: str) -> None:
        self.add_text(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.add_text(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        self.add_text(f"<![{data}]>")

    def handle_pi(self, data: str) -> None:
        self.add_text(f"<?{data}>")

    def add_text(self, text: str) -> None:
        siblings = self.siblings()
        if siblings and isinstance(siblings[-1], str):
            siblings[-1] += text
        else:
            self.add(text)

    def add(self, node: Node) -> None:
        self.siblings().append(node)
        self.nodes += 1

    def siblings(self) -> list[Node]:
        return self.open[-1][1] if self.open else self.root


def _safe_attributes(tag: str, given: dict[str, str | None]) -> dict[str, object]:
    attributes: dict[str, object] = {}
    href = (given.get("href") or "").strip()
    if tag == "a" and _is_web_address(href):
        attributes["href"] = href
    if style := _safe_style(given.get("style") or ""):
        attributes["style"] = style
    return attributes


def _is_web_address(href: str) -> bool:
    try:
        return urlsplit(href).scheme in ("http", "https")
    except ValueError:
        return False


def _safe_style(style: str) -> dict[str, str]:
    declarations = (d.partition(":") for d in style.split(";"))
    pairs = {name.strip().lower(): value.strip() for name, _, value in declarations}
    return {name: value for name, value in pairs.items() if name in STYLES and STYLE_VALUE.fullmatch(value)}
