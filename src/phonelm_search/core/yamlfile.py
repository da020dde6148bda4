"""YAML files that a person writes: finding them by name, and errors that name file and key."""

import shutil
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phonelm_search.core.errors import (
    ConfigurationError,
    UnknownNameError,
    first_line,
    shown,
    unwritable,
)
from phonelm_search.core.textfile import read_text

_MERGE = "tag:yaml.org,2002:merge"
_MOST_PROBLEMS = 5  # of one file that are told at once
Model = TypeVar("Model", bound=BaseModel)


class Named(BaseModel):
    """The content of a file that is found by its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)
    """The file's, without its suffix."""


NamedModel = TypeVar("NamedModel", bound=Named)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe one, which takes no key twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """See `yaml.SafeLoader.compose_mapping_node`."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if (key.tag, key.value) in lines:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {shown(key.value)} must be given once, it is given at line "
                    f"{lines[key.tag, key.value]} and again",
                    problem_mark=key.start_mark,
                )
            lines[key.tag, key.value] = key.start_mark.line + 1
        return node


def load_yaml(path: Path, model: type[Model]) -> Model:
    """Read a YAML file into a pydantic model.

    Raises:
        ConfigurationError: If the file cannot be read, is no YAML mapping, or breaks a rule of
            the model; the message names the file, the key and what is allowed.
    """
    content = parse_yaml(read_text(path), source=str(path))
    if not isinstance(content, dict):
        kind = "nothing" if content is None else type(content).__name__
        raise ConfigurationError(f"{path} must hold keys and values (a YAML mapping), got {kind}")
    return validate(content, model, source=str(path))


def parse_yaml(text: str, *, source: str) -> Any:
    """What YAML says.

    Raises:
        ConfigurationError: If it is none; the message names the source and the line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a safe one
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where is not None else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise ConfigurationError(f"{source} must be valid YAML; {problem}{line}") from error
    except RecursionError as error:
        raise ConfigurationError(f"{source} must be valid YAML; it is nested too deeply") from error
    except (ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML lets these out for dates, tags and numbers that are none.
        raise ConfigurationError(
            f"{source} must be valid YAML; a value is not what its form or tag says: "
            f"{first_line(error)}; put it in quotes"
        ) from error


def validate(content: dict[str, Any], model: type[Model], *, source: str) -> Model:
    """Build a pydantic model; every problem becomes part of one one-line message.

    Raises:
        ConfigurationError: If a rule of the model is broken.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_describe(dict(item), model) for item in error.errors()[:_MOST_PROBLEMS]]
        if (more := error.error_count() - len(problems)) > 0:
            problems.append(f"and {more:,} more")
        raise ConfigurationError(f"{source}: {'; '.join(problems)}") from error
    except (ArithmeticError, RecursionError, TypeError) as error:
        # pydantic turns none of these into its own error.
        raise ConfigurationError(
            f"{source}: a value must be of the kind and size that its key takes: "
            f"{first_line(error)}"
        ) from error


def _describe(item: dict[str, Any], model: type[BaseModel]) -> str:
    parts = [str(part) for part in item["loc"]]
    where = _short_key(".".join(p for p in parts if not p.startswith("function-")))
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        allowed = ", ".join(_keys_at(model, item["loc"][:-1]))
        message = f"unknown key; allowed: {allowed}" if allowed else "unknown key"
    elif item["type"] == "missing":
        message = "this key is required"
    elif item["type"] != "value_error" and not isinstance(item["input"], dict | list):
        message = f"{message[0].lower()}{message[1:]}, got {shown(item['input'])}"
        if item["type"] == "string_type" and item["input"] is not None:
            message += "; put it in quotes"  # YAML took it for a number, a date, or yes and no
    return f"{where}: {message}" if where else message


def _short_key(key: str) -> str:
    """A key as messages show it."""
    return key if len(key) <= 80 else f"{key[:77]}..."


def _keys_at(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    current: Any = model
    for part in path:
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            continue
        for candidate in (fields[part].annotation, *_arguments(fields[part].annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                current = candidate
    return list(getattr(current, "model_fields", {}))


def _arguments(annotation: Any) -> list[Any]:
    found: list[Any] = []
    for argument in getattr(annotation, "__args__", ()):
        found += [argument, *_arguments(argument)]
    return found


class NamedFiles:
    """A folder of YAML files, the user's in the working directory before the built-in ones.

    Args:
        folder: ``search_spaces`` or ``device_profiles``.
        kind: What one file is, for messages.
    """

    def __init__(self, folder: str, kind: str) -> None:
        self.folder = folder
        self.kind = kind

    @property
    def built_in(self) -> Path:
        """The shipped folder: inside the package when installed, beside ``src`` in a checkout."""
        package = Path(__file__).parents[1]
        installed = package / self.folder
        return installed if installed.is_dir() else package.parents[1] / self.folder

    def names(self) -> dict[str, Path]:
        """All names and their files, sorted; a local file hides a built-in one."""
        found: dict[str, Path] = {}
        for folder in (self.built_in, Path(self.folder)):
            found.update({p.stem: p for p in folder.glob("*.yaml")})
        return dict(sorted(found.items()))

    def resolve(self, name: str) -> Path:
        """The file of a name, or a path given as such (with a slash or ``.yaml``).

        Raises:
            UnknownNameError: If nothing is there.
        """
        if "/" in name or name.endswith((".yaml", ".yml")):
            path = Path(name)
            if path.is_file():
                return path
        names = self.names()
        if name not in names:
            raise UnknownNameError(
                self.kind, name, list(names), f"or give the path of a YAML file in ./{self.folder}"
            )
        return names[name]

    def load(self, name: str, model: type[NamedModel]) -> NamedModel:
        """Read the file of a name, or of a path, into a pydantic model.

        Raises:
            UnknownNameError: If nothing is there.
            ConfigurationError: If the file is malformed; the message names the file and the key.
        """
        path = self.resolve(name)
        content = load_yaml(path, model)
        if content.name != path.stem:
            raise ConfigurationError(
                f"{path}: name must be the file's, '{path.stem}', got '{content.name}'"
            )
        return content

    def copy(self, name: str) -> Path:
        """Copy a built-in file into the working directory for editing.

        Raises:
            ConfigurationError: If a file of that name is there already or cannot be written.
        """
        target = Path(self.folder) / f"{name}.yaml"
        source = self.resolve(name)
        if target.exists():
            raise ConfigurationError(f"{target} must not exist yet; remove it or edit it")
        try:
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(source, target)
        except OSError as error:
            raise ConfigurationError(unwritable(target, error)) from error
        return target
