"""YAML text as plain data, with the line of every key. Faults of the file are collected, not raised one by one."""

from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from transferkit.errors import NOTHING, Problem

Path = tuple[str | int, ...]
# A recipe has a few hundred nodes. Aliases inside aliases can unfold to billions.
_MAX_NODES = 20_000


def path_text(path: Path) -> str:
    """`("phases", 1, "epochs")` as `phases[1].epochs`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


@dataclass
class Tree:
    """Plain data (`dict`, `list`, scalars) and where each part of it was written."""

    data: object = None
    where: dict[Path, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def where_of(self, path: Path) -> str:
        """The nearest written place: an absent key is reported at its parent."""
        return next((self.where[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.where), "")


def parse_yaml(text: str, *, origin: str = "") -> Tree:
    """Read YAML 1.2.

    Args:
        text: one document.
        origin: where it was written, when lines say nothing, such as `--set`.
    """
    tree = Tree()
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}" if mark and not origin else origin
        tree.problems.append(Problem("", NOTHING, f"not valid YAML: {error.problem or error.context}", where=line))
        return tree
    except YAMLError as error:  # such as control characters
        rule = f"not valid YAML: {str(error).splitlines()[0]}"
        tree.problems.append(Problem("", NOTHING, rule, where=origin))
        return tree
    if root is not None:
        tree.data = _Reader(tree, yaml, origin).read(root, ())
    return tree


class _Reader:
    def __init__(self, tree: Tree, yaml: YAML, origin: str) -> None:
        self.tree, self.yaml, self.origin = tree, yaml, origin
        self.num_nodes = 0
        self.open: list[Node] = []

    def read(self, node: Node, path: Path) -> object:
        self.num_nodes += 1
        self.tree.where.setdefault(path, self._where(node))
        if node in self.open or self.num_nodes > _MAX_NODES:
            if self.num_nodes <= _MAX_NODES + 1:
                self._fault(path, node, "an alias that holds itself, or far too many values")
                self.num_nodes = _MAX_NODES + 1
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        self.open.append(node)
        try:
            if isinstance(node, SequenceNode):
                return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._mapping(node, path)
        finally:
            self.open.pop()

    def _scalar(self, node: ScalarNode, path: Path) -> object:
        try:
            return self.yaml.constructor.construct_object(node, deep=True)
        except (YAMLError, ValueError, OverflowError):
            self._fault(path, node, f"{node.value!r} is not a plain value")
            return None

    def _mapping(self, node: MappingNode, path: Path) -> dict:
        data: dict = {}
        for key_node, value_node in node.value:
            key = self.read(key_node, (*path, "<key>")) if isinstance(key_node, ScalarNode) else None
            self.tree.where.pop((*path, "<key>"), None)
            if not isinstance(key, str):
                self._fault(path, key_node, "a key must be text")
            elif key in data:
                first = self.tree.where[(*path, key)]
                self._fault((*path, key), key_node, f"{key!r} stands here twice (first on {first})")
            else:
                self.tree.where[(*path, key)] = self._where(key_node)
                data[key] = self.read(value_node, (*path, key))
        return data

    def _where(self, node: Node) -> str:
        return self.origin or f"line {node.start_mark.line + 1}"

    def _fault(self, path: Path, node: Node, rule: str) -> None:
        self.tree.problems.append(Problem(path_text(path), NOTHING, rule, where=self._where(node)))
