"""Names that may stand for something on the Hugging Face hub or for a local folder."""

from __future__ import annotations

from pathlib import Path

from gatewright.errors import UserError, did_you_mean


def resolve(key: str, name: str) -> str:
    """``name`` for Hugging Face's libraries: the folder it names, or itself as a name on the hub.

    Raises `UserError` for what can only be meant as a folder but is none, instead of letting the libraries look for it
    on the hub; ``key`` is the configuration key that holds it.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.exists():
        raise UserError(f"{key}={name}: is a file, not a folder")
    if name.startswith(("/", "./", "../", "~", "\\")) or name.count("/") > 1 or folder.is_absolute():
        beside = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise UserError(f"{key}={name}: no such folder{did_you_mean(folder.name, beside)}")
    return name
