"""Checks arguments against the signature of a class that a YAML names, by its source: nothing is imported.

So a forker's own data set, callback, net or operation is as strictly checked as ours, without a schema, and a
configuration can never run code by naming it.
"""

from __future__ import annotations

import ast
import re
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Union

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from settings import ranges
from settings.errors import nearest
from settings.paths import ROOT
from settings.schema.mistakes import wrong_values

LIBRARY = "lightning"
"""The one library whose classes are read as well: its own folder stands beside ours."""
_EXPONENT = re.compile(r"[+-]?\d+[eE][+-]?\d+")


def exponent(value: Any) -> Any:
    """1e-3 is a number to everyone but YAML 1.1, which wants 1.0e-3."""
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def one_or_several(value: Any) -> Any:
    """`resume_allow=KEY` is as good as `resume_allow=[KEY]`."""
    return [value] if isinstance(value, str) else value


STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
PATH: Any = typing.Annotated[Path, BeforeValidator(lambda value: Path(value) if isinstance(value, str) else value)]
SIMPLE: dict[str, Any] = {
    **{
        "int": int,
        "float": typing.Annotated[float, BeforeValidator(exponent)],
        "str": str,
        "bool": bool,
        "None": None,
        "Path": PATH,
        "_PATH": PATH,
        "Any": Any,
        "object": Any,
    },
    **{"list": list, "List": list, "Sequence": list, "Iterable": list, "tuple": list, "Tuple": list},
    **{"dict": dict, "Dict": dict, "Mapping": dict},
}
LIBRARIES = ("torch", "timm", "apex", "bitsandbytes", LIBRARY)
"""Whose classes can be looked up; which of them a key may name is for the key to say."""
NOT_PLAIN = ("Tensor", "Callable")


@dataclass(frozen=True)
class Parameter:
    """One keyword of a constructor; `annotation` is a type for pydantic, `Any` where there is none."""

    name: str
    annotation: Any
    required: bool

    @property
    def is_text(self) -> bool:
        """Whether its values are text or a path (or null), and so taken literally on the command line."""
        options = typing.get_args(self.annotation) if typing.get_origin(self.annotation) is Union else ()
        return self.annotation in (str, PATH) or (
            bool(options) and all(option in (str, PATH, type(None)) for option in options)
        )

    @property
    def is_path(self) -> bool:
        """Whether it asks for a path."""
        return self.annotation is PATH or PATH in typing.get_args(self.annotation)


class NotFoundInSource(LookupError):
    """A dotted name that does not lead to a class; the message says how far it leads."""


def parameters(target: str) -> dict[str, Parameter] | None:
    """The keyword arguments of `target`'s constructor; None if it takes any (`**kwargs`).

    Of a function only those behind the `*` count: what stands before is filled in by the caller.

    Args:
        target: `folder.file.Class` or `folder.file.function`, inside the project; or `lightning.FOLDER.Class`.

    Raises:
        NotFoundInSource: there is no such file, class or function.
    """
    init, _ = _called(target)
    return None if init is not None and init.args.kwarg is not None else named(target)


def named(target: str) -> dict[str, Parameter]:
    """As `parameters`, of one that takes any keyword those that it names."""
    init, is_function = _called(target)
    return keywords(init, positional=not is_function) if init else {}


def defaults(target: str) -> dict[str, Any]:
    """The defaults of `target`'s keyword arguments, where they are literals; tuples as lists, as YAML has them."""
    init, is_function = _called(target)
    found = {}
    for arg, default in _with_defaults(init, positional=not is_function) if init else []:
        if default is not None:
            with suppress(ValueError):
                value = ast.literal_eval(default)
                found[arg.arg] = list(value) if isinstance(value, tuple) else value
    return found


def positional(target: str) -> list[str]:
    """What stands before the `*` of a function: the caller fills it in, by name."""
    function = _function(target)
    return [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)] if function else []


def is_function(target: str) -> bool:
    """Whether there is a function of this name."""
    with suppress(NotFoundInSource):
        return _function(target) is not None
    return False


def keywords(function: ast.FunctionDef, *, positional: bool) -> dict[str, Parameter]:
    """The keyword arguments in a `def`; with those before the `*`, but for `self`, if `positional`."""
    return {
        arg.arg: Parameter(arg.arg, _kind(arg, default), default is None)
        for arg, default in _with_defaults(function, positional=positional)
    }


def _with_defaults(function: ast.FunctionDef, *, positional: bool) -> list[tuple[ast.arg, ast.expr | None]]:
    arguments = function.args
    before = [*arguments.posonlyargs, *arguments.args][1:] if positional else []
    none: list[ast.expr | None] = [None] * len(before)
    given = [*none, *arguments.defaults][-len(before) :] if before else []
    return [*zip(before, given, strict=True), *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]


def _called(target: str) -> tuple[ast.FunctionDef | None, bool]:
    """The function, else the class's constructor; and whether it is a function."""
    function = _function(target)
    return (function, True) if function else (_constructor(target), False)


def mistakes(
    target: str, arguments: Mapping[str, Any], *, ours: frozenset[str] = frozenset()
) -> Iterator[tuple[str, str | None]]:
    """Yield (argument, what is wrong) for all that `target` would not take; None for an unknown argument.

    A mistake inside a list or mapping is named by its place: `widths.1`.

    Args:
        target: `folder.file.Class`.
        arguments: what it would be called with.
        ours: parameters that the project itself fills in.

    Raises:
        NotFoundInSource: there is no such class.
    """
    known = parameters(target)
    if known is not None:
        known = {name: parameter for name, parameter in known.items() if name not in ours}
        yield from argument_mistakes(target, known, arguments)


def argument_mistakes(
    target: str, known: Mapping[str, Parameter], arguments: Mapping[str, Any]
) -> Iterator[tuple[str, str | None]]:
    """As `mistakes`, of parameters that are known already."""
    for name, value in arguments.items():
        if name not in known:
            yield name, None
            continue
        try:
            TypeAdapter(known[name].annotation, config=STRICT).validate_python(value)
        except ValidationError as error:
            errors: list[dict[str, Any]] = [{**one, "loc": (name, *one["loc"])} for one in error.errors()]
            for keys, text in wrong_values(errors, {name: value}).items():
                yield ".".join(keys), text
    for name, parameter in known.items():
        if parameter.required and name not in arguments:
            yield name, f" is needed: {target} has no default for it"


def names(target: str, *, ours: frozenset[str] = frozenset()) -> list[str]:
    """The arguments that a configuration may give to `target`."""
    return [name for name in parameters(target) or {} if name not in ours]


def convert(target: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Checked arguments as the constructor wants them: text becomes a path where it asks for one."""
    known = parameters(target) or {}
    return {
        name: _adapter(target, name).validate_python(value) if name in known else value
        for name, value in arguments.items()
    }


@cache
def _adapter(target: str, name: str) -> TypeAdapter[Any]:
    known = parameters(target)
    assert known is not None
    return TypeAdapter(known[name].annotation, config=STRICT)


def class_value(target: str, name: str) -> Any:
    """A plain class attribute of `target`, such as a net's `image_sizes`; None if there is none."""
    for node in _ancestry(target):
        found, value = literal(node.body, name)
        if found:
            return value
    return None


def module_value(module: str, name: str) -> Any:
    """A plain value that a file holds, such as a loss's `TARGETS`; None if there is none.

    Args:
        module: `folder.file`, inside the project.
        name: what stands left of the `=`.

    Raises:
        NotFoundInSource: there is no such file.
    """
    return literal(_module(module).body, name)[1]


def literal(body: Iterable[ast.stmt], name: str) -> tuple[bool, Any]:
    """Whether statements give `name` a value, and which; None where that is no plain value."""
    for statement in body:
        named: ast.expr | None = statement.target if isinstance(statement, ast.AnnAssign) else None
        if isinstance(statement, ast.Assign):
            named = statement.targets[0]
        if isinstance(named, ast.Name) and named.id == name and getattr(statement, "value", None) is not None:
            try:
                return True, ast.literal_eval(statement.value)  # type: ignore[attr-defined]
            except ValueError:
                return True, None
    return False, None


def file_of(target: str) -> ast.Module:
    """The parsed file that a class of Lightning's stands in, whichever package offers it."""
    module, _, name = target.rpartition(".")
    tree = _module(module)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and any(alias.name == name for alias in node.names):
            return _module(node.module)
    return tree


def classes_of(module: str) -> list[str]:
    """The names that a module of Lightning's says it offers (`__all__`)."""
    return literal(_module(module).body, "__all__")[1] or []


def _function(target: str) -> ast.FunctionDef | None:
    module, _, name = target.rpartition(".")
    found = (node for node in _module(module).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return next(found, None)


def _constructor(target: str) -> ast.FunctionDef | None:
    for node in _ancestry(target):
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                return statement
    return None


@cache
def _ancestry(target: str) -> tuple[ast.ClassDef, ...]:
    """The class and those of its base classes that lie in the project, nearest first; of Lightning's, in Lightning."""
    module, _, name = target.rpartition(".")
    tree = _module(module)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
        for alias in node.names
    }
    in_library = _top(module) == LIBRARY
    if name not in classes and in_library and _top(imported.get(name, "")) == LIBRARY:
        return _ancestry(imported[name])
    if name not in classes:
        close = nearest(name, classes)
        hint = f"; nearest: {', '.join(close)}" if close else ""
        raise NotFoundInSource(f"={target}: {module.replace('.', '/')}.py has no class {name}{hint}")
    chain = [classes[name]]
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and base.id != name:
            above = f"{module}.{base.id}" if base.id in classes else imported.get(base.id, "")
            if above and (_top(above) == LIBRARY if in_library else (ROOT / _top(above)).is_dir()):
                chain += _ancestry(above)
    return tuple(chain)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _module(module: str) -> ast.Module:
    path = _folder(module).joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not file.is_file():
        close = nearest(path.name, [other.stem for other in path.parent.glob("*.py")])
        hint = f"; nearest: {', '.join(close)}" if close else ""
        raise NotFoundInSource(f"={module}: there is no file {module.replace('.', '/')}.py{hint}")
    try:
        return _parsed(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise NotFoundInSource(f"={module}: {file.name} is not valid Python ({error})") from error


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _folder(module: str) -> Path:
    """The project's root, or where a library whose classes may be named lies; it is not imported for that."""
    top = module.split(".")[0]
    spec = find_spec(top) if top in LIBRARIES else None
    return Path(spec.submodule_search_locations[0]).parent if spec and spec.submodule_search_locations else ROOT


def _kind(arg: ast.arg, default: ast.expr | None) -> Any:
    """The type of an argument: its annotation, else what is like its default."""
    if arg.annotation is not None or default is None:
        return _annotation(arg.annotation)
    with suppress(ValueError):
        value = ast.literal_eval(default)
        if isinstance(value, bool | int | float):
            return bool if isinstance(value, bool) else SIMPLE["float"]
        if isinstance(value, tuple) and value and all(type(one) is float for one in value):
            return _fixed([SIMPLE["float"]] * len(value))
    return Any


def _fixed(entries: list[Any]) -> Any:
    """A list of so many entries: YAML has no tuples."""
    kinds: Any = Union.__getitem__(tuple(entries))
    return typing.Annotated[list[kinds], Field(min_length=len(entries), max_length=len(entries))]


def _options(nodes: list[ast.expr]) -> Any:
    """A union, without what no YAML can give."""
    given = [node for node in nodes if not (isinstance(node, ast.Name) and node.id in NOT_PLAIN)]
    return Union.__getitem__(tuple(_annotation(node) for node in given)) if given else Any


def _annotation(node: ast.expr | None) -> Any:
    """Turn the source of an annotation into a type; what is not plain data becomes Any."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _annotation(ast.parse(node.value, mode="eval").body)
        return None if node.value is None else Any
    if isinstance(node, ast.Name | ast.Attribute):
        return SIMPLE.get(node.id if isinstance(node, ast.Name) else node.attr, Any)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _options([node.left, node.right])
    if isinstance(node, ast.Subscript):
        origin = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
        inside = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if origin == "Annotated":
            return _bounded(inside[0], inside[1:])
        if origin == "Literal":
            return Literal[tuple(ast.literal_eval(value) for value in inside)]  # type: ignore[misc]
        if origin in ("Optional", "Union"):
            return _options([*inside, *([ast.Constant(None)] * (origin == "Optional"))])
        outer = SIMPLE.get(origin, Any)
        if outer is list:  # YAML has no tuples
            same = len(inside) == 1 or (isinstance(inside[-1], ast.Constant) and inside[-1].value is ...)
            if not same:
                return _fixed([_annotation(one) for one in inside])
            entry = _annotation(inside[0])
            whole: Any = list[entry]  # type: ignore[valid-type]
            is_text = entry is str or typing.get_origin(entry) is Literal
            return typing.Annotated[whole, BeforeValidator(one_or_several)] if is_text else whole
        if outer is dict and len(inside) == 2:
            return dict[_annotation(inside[0]), _annotation(inside[1])]  # type: ignore[misc]
        return outer
    return Any


def _bounded(node: ast.expr, notes: list[ast.expr]) -> Any:
    """A type with what notes such as "0 <= x < 1" ask of its values; other notes are for other readers."""
    annotation = _annotation(node)
    for note in notes:
        if isinstance(note, ast.Constant) and isinstance(note.value, str):
            annotation = typing.Annotated[annotation, AfterValidator(partial(_kept, note.value))]
    return annotation


def _kept(note: str, value: Any) -> Any:
    if wanted := ranges.broken(note, value):
        raise ValueError(wanted)
    return value
