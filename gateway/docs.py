"""The documentation page: the OpenAPI document as plain HTML, without a script or anything from elsewhere."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
body { color: #1a1a1a; background: #fff }
h1, h2, h3 { line-height: 1.25 } h3 { margin: 2.5rem 0 .25rem }
code { font: 14px/1.5 ui-monospace, monospace }
nav a { margin-right: 1rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
td, th { border-bottom: 1px solid #ddd; padding: .3rem .5rem; text-align: left; vertical-align: top }
@media (prefers-color-scheme: dark) {
  body { color: #eee; background: #161616 } td, th { border-color: #444 } a { color: #9cf }
}
"""

POLICY: Final = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'"
)
"""The page's content security policy: its own style and nothing else."""

_HEAD: Final = (
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    f"<title>Creator economy: API</title><style>{_STYLE}</style>"
)


def render(document: Mapping[str, Any]) -> bytes:
    """The page of an OpenAPI document."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = [tag["name"] for tag in document["tags"]]
    body = [
        f"<h1>{escape(document['info']['title'])} <small>{escape(document['info']['version'])}</small></h1>",
        *(f"<p>{escape(part)}</p>" for part in document["info"]["description"].split("\n\n")),
        '<p>For programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>',
        "<nav>" + "".join(f'<a href="#{_anchor(tag)}">{escape(tag)}</a>' for tag in tags) + "</nav>",
    ]
    for tag in tags:
        body.append(f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>')
        body += [_operation(*each) for each in operations if tag in each[2]["tags"]]
    body.append('<h2 id="schemas">Schemas</h2>')
    body += [_schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return f'<!doctype html><html lang="en"><head>{_HEAD}</head><body>{"".join(body)}</body></html>'.encode()


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [
        f'<h3 id="{escape(operation["operationId"])}"><code>{method} {escape(path)}</code></h3>',
        f"<p>{escape(operation['summary'])}<br>{escape(operation['description'])}</p>",
    ]
    wanted = [each for each in operation["parameters"] if each["in"] == "query"]
    if wanted:
        rows = [(f"?{each['name']}", _kind(each["schema"]), each["description"]) for each in wanted]
        parts.append(_table(("Parameter", "Takes", ""), rows))
    if "requestBody" in operation:
        ((media_type, content),) = operation["requestBody"]["content"].items()
        body = _kind(content["schema"]) if media_type == "application/json" else escape(media_type)
        parts.append(f"<p>Body: {body}</p>")
    answers = [(status, _content(answer), answer["description"]) for status, answer in operation["responses"].items()]
    parts.append(_table(("Status", "Body", ""), answers))
    return "".join(parts)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (field if field in required else f"{field} (may be left out)", _kind(shape), shape.get("description", ""))
        for field, shape in schema.get("properties", {}).items()
    ]
    title = f'<h3 id="schema-{escape(name)}">{escape(name)}</h3><p>{escape(schema.get("description", ""))}</p>'
    return title + _table(("Member", "Type", ""), rows)


def _content(answer: Mapping[str, Any]) -> str:
    return ", ".join(
        _kind(media["schema"]) if "$ref" in media["schema"] else escape(kind)
        for kind, media in answer["content"].items()
    )


def _kind(shape: Mapping[str, Any]) -> str:
    """A schema in a few words, as HTML."""
    if "$ref" in shape:
        name = escape(shape["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if "anyOf" in shape:
        return " or ".join(_kind(each) for each in shape["anyOf"])
    if "enum" in shape:
        return " | ".join(f"<code>{escape(str(each))}</code>" for each in shape["enum"])
    if shape.get("type") == "array":
        return f"list of {_kind(shape['items'])}"
    words = ("format", "minimum", "maximum", "pattern", "default")
    bounds = [f"{word} {escape(str(shape[word]))}" for word in words if shape.get(word) is not None]
    return escape(str(shape.get("type", "any"))) + (f" ({', '.join(bounds)})" if bounds else "")


def _table(heads: Sequence[str], rows: Sequence[tuple[str, str, str]]) -> str:
    """Three columns: a name, HTML, and text."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{html}</td><td>{escape(text)}</td></tr>"
        for name, html, text in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _anchor(tag: str) -> str:
    return escape(tag.lower().replace(" ", "-"))
