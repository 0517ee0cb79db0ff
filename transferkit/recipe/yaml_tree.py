"""YAML text as plain data, with the line of every key. Faults of the file are collected, not raised one by one."""

import re
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from transferkit.errors import NOTHING, Problem, show_value

Path = tuple[str | int, ...]
# A recipe has a few hundred values, seven deep. Aliases inside aliases can unfold to billions.
_MAX_NODES = 5_000
MAX_DEPTH = 30
_CORE = "tag:yaml.org,2002:"
# What YAML 1.2's core schema knows; dates, `<<` and `=` are text in it.
_CORE_SCALARS = ("null", "bool", "int", "float", "str")
_TEXT_SCALARS = ("timestamp", "merge", "value")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CORE_NODES = (f"{_CORE}map", f"{_CORE}seq")
# ruamel's wording for its own readers, and ours for people who write recipes.
_CLEARER = (
    (r"found character '\\t'.*", "a tab; indent with spaces"),
    (r"found character '(.)' that cannot start any token", r"text that begins with \1 must be in quotes"),
    (r"could not find expected ':'", "a key without a colon and a space after it"),
    (r"mapping values are not allowed.*", "a second ': ' on the line (quote text that has one), or wrong indentation"),
    (r"expected (<block end>|'<document start>').*", "this line is indented unlike those that it belongs to"),
    (r"found unexpected end of stream", "a quotation mark that is never closed"),
    (r".*'<stream end>'.*", "it ends before a bracket is closed"),
    (r"expected ',' or '(.)', but got .*", r"a ',' or '\1' is missing before this"),
    (r"expected the node content, but found '(.+)'", r"'\1' stands where a value belongs"),
    (r"expected alphabetic or numeric character.*", "text that begins with * or & must be in quotes"),
    (r"but found another document", "a second document ('---'); a recipe is one"),
)


def path_text(path: Path) -> str:
    """`("phases", 1, "epochs")` as `phases[1].epochs`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass
class Tree:
    """Plain data (`dict`, `list`, scalars) and where each part of it was written.

    Args:
        bad_paths: places whose value could not be read; `data` has null there.
    """

    data: object = None
    where: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    bad_paths: set[Path] = field(default_factory=set)

    def where_of(self, path: Path) -> str:
        """The nearest written place: an absent key is reported at its parent."""
        return next((self.where[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.where), "")


def parse_yaml(text: str, *, origin: str = "") -> Tree:
    """Read YAML 1.2. Builds no objects: tags are refused.

    Args:
        text: one document.
        origin: where it was written, when lines say nothing, such as `--set`.
    """
    tree = Tree()
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _BoundedComposer
    try:
        root = yaml.compose(text)
        if root is not None:
            tree.data = _Reader(tree, yaml, origin).read(root, ())
    except MarkedYAMLError as error:
        tree.problems.append(_unreadable(error, origin))
    except ReaderError as error:  # control characters
        line = f"line {text.count(chr(10), 0, error.position) + 1}"
        rule = f"character {error.character:#04x} is not allowed in YAML; remove it"
        tree.problems.append(Problem("", NOTHING, rule, where=origin or line))
    return tree


def _unreadable(error: MarkedYAMLError, origin: str) -> Problem:
    rule = error.problem or error.context
    for pattern, clearer in _CLEARER:
        rule = re.sub(pattern, clearer, rule)
    place, begin = error.problem_mark or error.context_mark, error.context_mark
    if begin and begin.line < place.line:
        # A missing colon or quotation mark shows where the next thing begins.
        if "simple key" in error.context or "quoted scalar" in error.context:
            place = begin
        elif error.context.startswith("while parsing a flow"):
            rule += f"; line {begin.line + 1} opens a bracket that is not closed"
    return Problem("", NOTHING, f"not valid YAML: {rule}", where=origin or f"line {place.line + 1}")


class _BoundedComposer(Composer):
    """Gives up before depth or size can cost a stack or minutes."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False
        self.num_nodes = self.num_open = 0

    def compose_document(self) -> Any:
        event = self.parser.peek_event()
        if event.version not in (None, (1, 2)):
            raise ComposerError(None, None, "recipes are YAML 1.2; take out the %YAML line", event.start_mark)
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.num_nodes += 1
        self.num_open += 1
        if self.num_open > MAX_DEPTH or self.num_nodes > _MAX_NODES:
            raise _too_much(self.parser.peek_event(), deep=self.num_open > MAX_DEPTH)
        node = super().compose_node(parent, index)
        self.num_open -= 1
        return node


def _too_much(marked: Any, *, deep: bool) -> ComposerError:
    rule = f"nested more than {MAX_DEPTH} deep" if deep else f"more than {_MAX_NODES:,} values"
    return ComposerError(None, None, f"{rule}; no recipe needs that", marked.start_mark)


class _Reader:
    def __init__(self, tree: Tree, yaml: YAML, origin: str) -> None:
        self.tree, self.yaml, self.origin = tree, yaml, origin
        self.num_nodes = 0
        self.open: list[Node] = []

    def read(self, node: Node, path: Path) -> object:
        self.num_nodes += 1
        self.tree.where.setdefault(path, self._where(node))
        if node in self.open:
            return self._fault(path, node, NOTHING, "an alias to something that it is part of itself")
        if self.num_nodes > _MAX_NODES or len(self.open) > MAX_DEPTH:
            raise _too_much(node, deep=self.num_nodes <= _MAX_NODES)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _CORE_NODES:
            return self._tag_fault(path, node)
        self.open.append(node)
        if isinstance(node, SequenceNode):
            data: object = [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            data = self._mapping(node, path)
        self.open.pop()
        return data

    def _scalar(self, node: ScalarNode, path: Path) -> object:
        kind = node.tag.removeprefix(_CORE)
        if _SURROGATE.search(node.value):
            return self._fault(path, node, node.value, "holds half a character, which cannot be saved")
        if kind in _TEXT_SCALARS:
            return node.value
        if kind not in _CORE_SCALARS:
            return self._tag_fault(path, node)
        try:
            return self.yaml.constructor.construct_object(node, deep=True)
        except (YAMLError, ValueError, KeyError):
            return self._fault(path, node, node.value, f"cannot be read as a YAML {kind}")

    def _mapping(self, node: Node, path: Path) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.tag.removeprefix(_CORE) not in ("str", *_TEXT_SCALARS):
                shown = show_value(key)[1:-1] or "null" if isinstance(key, str) else "a list or a mapping"
                self._problem(path, key_node, NOTHING, f"a key must be text, not {shown}")
            elif _SURROGATE.search(key):
                self._problem(path, key_node, key, "is not a key here")
            elif key in data:
                first = "" if self.origin else f" (first on {self.tree.where[(*path, key)]})"
                self._problem(path, key_node, key, f"stands here twice{first}")
            else:
                self.tree.where[(*path, key)] = self._where(key_node)
                data[key] = self.read(value_node, (*path, key))
        return data

    def _where(self, node: Node) -> str:
        return self.origin or f"line {node.start_mark.line + 1}"

    def _tag_fault(self, path: Path, node: Node) -> None:
        tag = node.tag.replace(_CORE, "!!")
        return self._fault(path, node, tag, "is a YAML tag, which recipes do not use; write the plain value")

    def _fault(self, path: Path, node: Node, given: object, rule: str) -> None:
        self.tree.bad_paths.add(path)
        self._problem(path, node, given, rule)

    def _problem(self, path: Path, node: Node, given: object, rule: str) -> None:
        self.tree.problems.append(Problem(path_text(path), given, rule, where=self._where(node)))
