"""The public names of every package of utils as one page of the book, made of their docstrings.

What a package exports (`__all__`) is listed under it; of a module that is no package, what it
defines. Docstrings are text with a few forms, and no Markdown: see `docstring_html`.
"""

from __future__ import annotations

import importlib
import inspect
import pprint
import re
import sys
import textwrap
from collections.abc import Iterator
from html import escape
from types import ModuleType
from typing import Any

from bs4 import BeautifulSoup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonConsoleLexer, PythonLexer

from tools.pages import anchor

# All packages of utils, and the modules that notebooks use: first the way of a study.
LISTED = (
    *("rsna", "dicom", "exam", "prepare", "views", "crops", "models", "training", "inference"),
    *("metrics", "presets", "viewer", "audit", "phantom", "course", "errors"),
)
WIDTH = 88  # characters of a line of code
LONGEST_VALUE = 400  # characters of a constant that is shown
FACTORY = ("<factory>", "…")  # a default that is made anew each time
LAYOUT = HtmlFormatter(nowrap=True)
# A line of a list in a docstring: names, two spaces or more, what they are.
ITEM = re.compile(r"(?P<name>[\w.]+(?:, [\w.]+)*) {2,}(?P<text>\S.*)")
INTRODUCTION = """
What each package exports, in the way of the data, with examples that the tests run. Points are in
mm of the patient (LPS), arrays have their shape in brackets. Names that are not here may change.
"""


def content() -> BeautifulSoup:
    """The whole page."""
    sections = "".join(_section(module) for module in modules())
    return BeautifulSoup(f"<h1>API</h1>\n<p>{INTRODUCTION}</p>\n{sections}", "html.parser")


def modules() -> list[ModuleType]:
    """Those that are listed, imported."""
    return [importlib.import_module(f"utils.{name}") for name in LISTED]


def public_names(module: ModuleType) -> dict[str, Any]:
    """What a package exports, or else the functions and classes that a module defines."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    return {
        name: value
        for name, value in own.items()
        if _is_code(value) and value.__module__ == module.__name__
    }


def entry_id(module: ModuleType, name: str = "") -> str:
    """Of a name on the page: "metrics-rsna_score"; of a module alone "metrics". Anchors heed no
    case: of Payload and payload the second has a number, as of two headings of the same text."""
    names = [other for other in public_names(module) if other.lower() == name.lower()]
    number = f"-{names.index(name)}" if name in names[1:] else ""
    return anchor("-".join(filter(None, [_short(module), name]))) + number


def _short(module: ModuleType) -> str:
    return module.__name__.removeprefix("utils.")


def _is_code(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isroutine(value)


# --- entries --------------------------------------------------------------------------------------


def _section(module: ModuleType) -> str:
    """A package: what it says of itself, its functions and classes, its constants."""
    names = public_names(module)
    code = {name: value for name, value in names.items() if _is_code(value)}
    constants = {name: value for name, value in names.items() if name not in code}
    listed = sorted(code, key=str.lower)
    parts = [
        f'<h2 id="{entry_id(module)}">{_short(module)}</h2>\n',
        docstring_html(module, module),
        _index(module, listed),
        *(_entry(module, name, code[name]) for name in listed),
        _constants(module, constants),
    ]
    return "".join(parts)


def _index(module: ModuleType, names: list[str]) -> str:
    """Links to the functions and classes of a package."""
    links = [f'<a href="#{entry_id(module, name)}">{name}</a>' for name in names]
    return f"<p class=index>{' · '.join(links)}</p>\n" if links else ""


def _entry(module: ModuleType, name: str, value: Any) -> str:
    """A function or class: its signature, its docstring, and a class's own members."""
    heading = f'<h3 id="{entry_id(module, name)}">{name}{_source_link(value)}</h3>\n'
    text = _signature_html(name, value) + docstring_html(value, module)
    return heading + text + "".join(_members(value, module))


def _source_link(value: Any) -> str:
    path = f"{value.__module__.replace('.', '/')}.py"
    return f' <a class=source href="{path}">{path.removeprefix("utils/")}</a>'


def _members(value: Any, module: ModuleType) -> Iterator[str]:
    """The methods and properties that a class itself defines and documents."""
    members = vars(value).items() if inspect.isclass(value) else ()
    listed = ""
    for name, member in members:
        function = _function_of(member)
        if not name.startswith("_") and function and inspect.getdoc(function):
            shown = f"<code>{name}</code>" if function is not member else _member_signature(member)
            listed += f"<dt>{shown}</dt><dd>{docstring_html(function, module)}</dd>\n"
    if listed:
        yield f"<dl class=members>\n{listed}</dl>\n"


def _function_of(member: Any) -> Any:
    """What a property, cached property or class method calls; a method itself; else None."""
    for name in ("fget", "func", "__func__"):
        member = getattr(member, name, member)
    return member if inspect.isfunction(member) else None


def _member_signature(function: Any) -> str:
    return f"<code>{escape(signature(function.__name__, function, WIDTH))}</code>"


def _constants(module: ModuleType, values: dict[str, Any]) -> str:
    rows = "".join(
        f'<tr id="{entry_id(module, name)}"><td><code>{name}</code></td>'
        f"<td><code>{escape(_shown(value))}</code></td></tr>\n"
        for name, value in values.items()
    )
    return f"<table class=constants>\n{rows}</table>\n" if rows else ""


def _shown(value: Any) -> str:
    """A value; of a long one its words or keys, or how many there are."""
    text = pprint.pformat(value, WIDTH, compact=True, sort_dicts=False)
    if len(text) <= LONGEST_VALUE:
        return text
    words = isinstance(value, dict) or all(isinstance(one, str) for one in value)
    return f"of {', '.join(value)}" if words else f"{len(value)} of them"


# --- signatures -----------------------------------------------------------------------------------


class _Raw(str):
    """An annotation as it is written, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def signature(name: str, value: Any, width: int = WIDTH) -> str:
    """`name(parameter: type = default) -> type`, each parameter on a line where one is too short;
    an error's is no more than its name."""
    if inspect.isclass(value) and issubclass(value, BaseException):
        return name
    found = inspect.signature(value)
    parts = [
        one.replace(annotation=_raw(one.annotation))
        for one in found.parameters.values()
        if one.name != "self"
    ]
    returns = inspect.Signature.empty if inspect.isclass(value) else _raw(found.return_annotation)
    whole = found.replace(parameters=parts, return_annotation=returns)
    one_line = f"{name}{whole}"
    return (one_line if len(one_line) <= width else _on_lines(name, whole)).replace(*FACTORY)


def _raw(annotation: Any) -> Any:
    return _Raw(annotation) if isinstance(annotation, str) else annotation


def _on_lines(name: str, whole: inspect.Signature) -> str:
    end = str(whole.replace(parameters=[])).removeprefix("()")
    return "\n".join([f"{name}(", *(f"    {one}," for one in whole.parameters.values()), f"){end}"])


def _signature_html(name: str, value: Any) -> str:
    return _code(signature(name, value), PythonLexer())


def _code(text: str, lexer: Any) -> str:
    return f"<div class=highlight><pre>{highlight(text, lexer, LAYOUT)}</pre></div>\n"


# --- docstrings -----------------------------------------------------------------------------------


def docstring_html(value: Any, module: ModuleType | None = None) -> str:
    """A docstring as HTML. Its forms: paragraphs; lists whose lines are a name, two spaces or more,
    and what it is; examples that begin with >>>; and indented lines, which stay as they are.

    module  whose public names in backticks become links, unless a module of it has that name
    """
    names = public_names(module) if module else {}
    linked = {
        name: entry_id(module, name)
        for name in names
        if module and f"{module.__name__}.{name}" not in sys.modules
    }
    blocks = re.split(r"\n\s*\n", inspect.getdoc(value) or "")
    return "".join(_block(block, linked) for block in blocks if block.strip())


def _block(block: str, linked: dict[str, str]) -> str:
    if block.lstrip().startswith(">>>"):
        return _code(textwrap.dedent(block), PythonConsoleLexer())
    if all(line.startswith("    ") for line in block.splitlines()):
        return f"<pre>{escape(textwrap.dedent(block))}</pre>\n"
    return "".join(_lines(block.splitlines(), linked))


def _lines(lines: list[str], linked: dict[str, str]) -> Iterator[str]:
    """Paragraphs and lists, which may follow each other without an empty line."""
    text, items = "", list[tuple[str, str]]()
    for line in [*lines, ""]:
        item = ITEM.fullmatch(line)
        if items and line.startswith("  "):
            items[-1] = (items[-1][0], f"{items[-1][1]} {line.strip()}")
            continue
        if items and not item:
            yield _list(items, linked)
            items = []
        if (item or not line) and text:
            yield f"<p>{_inline(text, linked)}</p>\n"
            text = ""
        if item:
            items.append((item["name"], item["text"]))
        else:
            text = f"{text}\n{line}".strip()


def _list(items: list[tuple[str, str]], linked: dict[str, str]) -> str:
    rows = (f"<dt><code>{name}</code></dt><dd>{_inline(text, linked)}</dd>" for name, text in items)
    return "<dl>\n" + "\n".join(rows) + "\n</dl>\n"


def _inline(text: str, linked: dict[str, str]) -> str:
    """Escaped; what is in backticks as code, and a public name as a link to its entry."""

    def code(found: re.Match) -> str:
        name = found[1]
        shown = f"<code>{name}</code>"
        return f'<a href="#{linked[name]}">{shown}</a>' if name in linked else shown

    return re.sub(r"`([^`]+)`", code, escape(text.replace("::", ":"), quote=False))
