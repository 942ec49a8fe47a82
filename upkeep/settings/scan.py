"""The `scan` key of a watch: which calls of which language are analytics calls.

What belongs here: the settings, their checks and what can be derived from them alone; below `config.py`, which reads
them. What does not: reading source code and following a name to its string (`content/scan/`).

    scan:
      kotlin:
        calls: [track, logEvent]            # any receiver, `?.` or none, any number of arguments, constructors too
        event: 0                            # position, or the name of a named argument
        properties: 1
      typescript:
        calls: [track, {method: raise, event: 1, receivers: [analytics]}]
        rules: ["emit($EVENT, $PROPERTIES)"]
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator, model_validator

if TYPE_CHECKING:  # settings are read by commands that scan nothing
    from ast_grep_py import Config

Language = Literal["kotlin", "java", "swift", "typescript"]
Position = Annotated[int, Field(ge=0, le=32)] | Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Case = Literal["keep", "lower", "upper", "snake"]

EXTENSIONS: dict[Language, tuple[str, ...]] = {
    "kotlin": (".kt", ".kts"),
    "java": (".java",),
    "swift": (".swift",),
    "typescript": (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"),
}

EXCLUDED = (
    "**/build/**",
    "**/node_modules/**",
    "**/src/test/**",
    "**/src/*Test/**",
    "**/src/test*/**",
    "**/__tests__/**",
    "**/*Tests/**",
    "**/*.test.*",
    "**/*.spec.*",
    "**/test.ts",
    "**/test.tsx",
    "**/test.js",
    "**/*.d.ts",
    "**/*.min.js",
)
"""Left out unless `exclude` says otherwise: tests call the tracker too, but the app never sends what they do."""

_METHOD = re.compile(r"^[A-Za-z_$][\w$]*$")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NameStyle(_Strict):
    """How the tracker turns what it is given into the string that is sent.

    `of`: the property that holds an enum member's or object's name; unset, the only string among its constructor
    arguments and properties is taken, and where there is none or there are several the name stays unresolved. `name`
    on an enum without such a property is the member's own identifier. `case` and `prefix` are applied to every name.
    """

    of: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    case: Case = "keep"
    prefix: str = ""

    def apply(self, name: str) -> str:
        """Return the string that is sent for `name`."""
        if self.case == "lower":
            name = name.lower()
        elif self.case == "upper":
            name = name.upper()
        elif self.case == "snake":
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()
        return self.prefix + name


class CallPattern(_Strict):
    """One method (or constructor) of a tracker whose shape differs from the language's defaults.

    `event` and `properties` are argument positions from 0, or names of arguments; unset, the language's own. `null`
    for `properties` says that the method takes none. `receivers` are glob patterns for the last name before the
    method (`AnalyticsTracker` in `com.app.AnalyticsTracker.track()`); empty means any receiver and none. `type` is
    the type of the event, where its members are written without it (Swift's `.opened`).
    """

    method: str
    type: str | None = None
    event: Position | None = None
    properties: Position | None = None
    receivers: tuple[str, ...] = ()
    names: NameStyle | None = None

    @field_validator("method")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _METHOD.match(value):
            raise ValueError(
                f"{value!r} is not the name of a method: write the bare name (`track`, not `tracker.track()`); "
                "`receivers` limits who it is called on, `rules` takes whole ast-grep patterns"
            )
        return value


class RawRule(_Strict):
    """An ast-grep rule for what names and positions cannot say.

    `rule` is a pattern (`"emit($EVENT, $$$PROPERTIES)"`) or a rule object; it must bind `$EVENT`, and may bind
    `$PROPERTIES`. `constraints` is ast-grep's key of that name. `contains` are words of which a file must hold one to
    be parsed at all; unset, the longest word of a pattern, and every file where the rule has no pattern.
    """

    rule: str | dict[str, Any]
    constraints: dict[str, Any] = Field(default_factory=dict)
    contains: tuple[str, ...] = ()
    names: NameStyle | None = None

    @field_validator("rule")
    @classmethod
    def _binds_event(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if not value or "$EVENT" not in json.dumps(value):
            raise ValueError("the rule must bind $EVENT to the argument that holds the event's name")
        return value

    def config(self) -> Config:
        """Return the rule in the form that ast-grep takes."""
        rule = {"pattern": self.rule} if isinstance(self.rule, str) else self.rule
        return cast("Config", {"rule": rule, **({"constraints": self.constraints} if self.constraints else {})})

    def words(self) -> tuple[str, ...]:
        """Return words of which a matching file holds at least one; empty where nothing can be said."""
        if self.contains or not isinstance(self.rule, str):
            return self.contains
        words = re.findall(r"(?<![$\w])[A-Za-z_]\w+", self.rule)
        return (max(words, key=len),) if words else ()


class LanguageScan(_Strict):
    """What to look for in the files of one language.

    `wrappers`: a function that hands a parameter of its own on as the event is followed to its callers, one level deep.
    `include` and `exclude` are globs over paths in the repository (`**` crosses folders); a given `exclude` replaces
    the default, which leaves out tests and build output.
    """

    calls: tuple[CallPattern, ...] = ()
    event: Position = 0
    properties: Position | None = 1
    names: NameStyle = NameStyle()
    rules: tuple[RawRule, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = EXCLUDED
    wrappers: bool = True

    @field_validator("calls", mode="before")
    @classmethod
    def _short_calls(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError(f"a list is needed: [{value}]")
        if not isinstance(value, (list, tuple)):
            return value
        return [{"method": item} if isinstance(item, str) else item for item in value]

    @field_validator("rules", mode="before")
    @classmethod
    def _short_rules(cls, value: object) -> object:
        if not isinstance(value, (list, tuple)):
            return value
        return [{"rule": item} if isinstance(item, str) or _bare_rule(item) else item for item in value]

    @model_validator(mode="after")
    def _finds_something(self) -> LanguageScan:
        if not self.calls and not self.rules:
            raise ValueError("nothing to look for: name the tracker's methods in `calls` (or give `rules`)")
        return self

    def event_of(self, call: CallPattern) -> Position:
        """Return where `call` has its event."""
        return self.event if call.event is None else call.event

    def properties_of(self, call: CallPattern) -> Position | None:
        """Return where `call` has its properties, None where it has none."""
        return call.properties if "properties" in call.model_fields_set else self.properties

    def names_of(self, pattern: CallPattern | RawRule) -> NameStyle:
        """Return how `pattern` writes its names."""
        return pattern.names or self.names


class ScanSettings(RootModel[dict[Language, LanguageScan]]):
    """`{language: LanguageScan}`; an empty mapping finds nothing, which is allowed: a watch need not be scanned."""

    model_config = ConfigDict(frozen=True)

    root: dict[Language, LanguageScan] = Field(default_factory=dict)

    def fingerprint(self) -> str:
        """Return a short hash that changes with any setting."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]


def _bare_rule(item: object) -> bool:
    return isinstance(item, dict) and "rule" not in item and not {"constraints", "contains"} & item.keys()
