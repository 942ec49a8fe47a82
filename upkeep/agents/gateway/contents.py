"""What a request shows the model: what may not be in it, and how many tokens it can be at most.

What belongs here: pure rules over the parts of a conversation that all three APIs share. What does not: the fields
around them (`apis.py`), prices and budgets (`admission.py`).

A reference to something that the provider would fetch or keep (a URL, a file's id) is refused twice over: by it data
could leave, and nobody could say what it costs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

IMAGE_TOKENS = 6_000
"""More than an image costs at any provider whose models the engines use (Anthropic: 4,784; OpenAI: 2,500)."""

OVERHEAD_TOKENS = 1_024
"""What a provider adds by itself: its own system prompt for tools, the frames of messages."""

# Types of parts whose size in tokens, or whose content, only the provider knows.
_UNSEEN = frozenset(
    {
        *("input_file", "file", "input_audio", "input_video", "video_url", "container_upload"),
        *("item_reference", "audio", "search_result"),
    }
)
_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_REFERENCES = ("file_id", "file_url", "vector_store_ids", "container_id")


class Refused(Exception):
    """A request that is not sent on. `kind` is a `RefusalCode`."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


@dataclass(frozen=True)
class Piece:
    """One part of a request: a message's block, a tool, a field. `size` in bytes of UTF-8, images not included."""

    digest: bytes
    size: int
    images: int

    @property
    def tokens(self) -> int:
        """No byte-level tokenizer makes more than one token of a byte."""
        return self.size + self.images * IMAGE_TOKENS


def pieces(values: Iterable[Any]) -> list[Piece]:
    """One piece a value, or one a block where the value is a message with a list of them. Raises Refused."""
    found = []
    for value in values:
        blocks = value.get("content") if isinstance(value, dict) else None
        if isinstance(blocks, list) and len(blocks) > 1:
            found += [_piece(block) for block in blocks]
            found.append(_piece({key: entry for key, entry in value.items() if key != "content"}))
        else:
            found.append(_piece(value))
    return found


def _piece(value: Any) -> Piece:
    shown, images = (value, 0) if isinstance(value, str) else _inspect(value)
    text = _ENCODE(shown).encode(errors="surrogatepass")
    return Piece(hashlib.blake2b(text, digest_size=16).digest(), len(text), images)


def _inspect(value: Any) -> tuple[Any, int]:
    """The value without what moves from request to request (cache marks) and without images' bytes, and how many
    images it holds."""
    if isinstance(value, list):
        inner = [_inspect(entry) for entry in value]
        return [shown for shown, _ in inner], sum(images for _, images in inner)
    if not isinstance(value, dict):
        return value, 0
    kind = value.get("type")
    _refuse_reference(value, kind)
    if _is_image(value, kind):
        digest = hashlib.blake2b(json.dumps(value, sort_keys=True).encode(errors="surrogatepass"), digest_size=16)
        return {"image": digest.hexdigest()}, 1
    shown: dict[str, Any] = {}
    images = 0
    for key, entry in value.items():
        if key == "cache_control":
            continue
        if key == "input" and kind == "tool_use":
            # The model's own words, with whatever keys a tool has: text to the provider, never followed.
            shown[key] = entry
            continue
        shown[key], more = _inspect(entry)
        images += more
    return shown, images


def _refuse_reference(value: dict[str, Any], kind: object) -> None:
    if isinstance(kind, str) and kind in _UNSEEN:
        raise Refused("reference", f"a part of type {kind} is not passed on: its cost and its content cannot be seen")
    for name in _REFERENCES:
        if isinstance(value.get(name), str | list):
            raise Refused("reference", f"{name} is not passed on: it refers to what only the provider can see")
    source = value.get("source")
    if kind in ("image", "document") and isinstance(source, dict):
        allowed = ("base64",) if kind == "image" else ("text", "content")
        if source.get("type") not in allowed:
            raise Refused("reference", f"a {kind} of source {source.get('type')!r} is not passed on")


def _is_image(value: dict[str, Any], kind: object) -> bool:
    """Whether it is an image, in the request itself. Raises Refused for one by URL: the provider would fetch it."""
    if kind == "image":
        return True
    if "image_url" not in value or kind not in ("input_image", "image_url"):
        return False
    place = value["image_url"]
    url = place.get("url") if isinstance(place, dict) else place
    if not isinstance(url, str) or not url.startswith("data:"):
        raise Refused("reference", "an image by URL is not passed on: the provider would fetch it")
    return True
