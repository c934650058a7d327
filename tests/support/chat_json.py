"""A reader of chat.json, written from its description in docs/bundle-format.md and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def join(chat: Mapping[str, Any], messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt's text. ValueError for a conversation that the pieces don't hold for."""
    system = messages[0]["content"] if messages[0]["role"] == "system" else None
    turns = messages[1:] if system is not None else messages
    roles = [turn["role"] for turn in turns]
    if chat["alternates"] and roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise ValueError("roles")
    if any(text in message["content"] for text in chat["forbidden"] for message in messages):
        raise ValueError("forbidden")
    inside, own = chat["system_in_user"], chat["roles"].get("system")
    if system is not None and inside is None and own is None:
        raise ValueError("system")
    holder = inside or own
    if system is not None and holder["trim"]:
        system = system.strip()
    if system is None or (system == "" and chat["skip_empty_system"]):
        system = chat["default_system"]
    text = chat["start"]
    if system is not None and inside is None:
        text += own["prefix"] + system + own["suffix"]
    users = [index for index, role in enumerate(roles) if role == "user"]
    for index, turn in enumerate(turns):
        role = chat["roles"][turn["role"]]
        content = turn["content"]
        if "keep_after" in role and role["keep_after"]["text"] in content:
            content = content.split(role["keep_after"]["text"])[-1]
            then = role["keep_after"]["then"]
            content = {"keep": content, "lstrip_newlines": content.lstrip("\n"), "trim": content.strip()}[then]
        held = system is not None and inside is not None and index == users[0 if inside["turn"] == "first" else -1]
        head = inside["prefix"] + system + inside["suffix"] if held else ""
        if role["trim"]:
            content = (head + content).strip() if held and inside["trim_joined"] else head + content.strip()
        else:
            content = head + content
        text += role["prefix"] + content + role["suffix"]
    return text + chat["generation_prompt"]
