"""The account PostgreSQL runs as when we are root, and the places that account can reach.

PostgreSQL refuses to run as root. For root it therefore runs as an unprivileged account, which must be able
to enter the folders of its programs and of its data. A clone below `/root` (mode 0700) is closed to it; then
the programs are copied to, and the data are kept in, a folder of root's that others may enter. That folder is
not in `/tmp` or `/var/tmp`, because those are swept by age.
"""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from local.errors import LocalError

_NAME = "nobody"
_OPEN_FOLDER = Path("/var/lib/ratelimiter-local")


@dataclass(frozen=True)
class Account:
    """A user to run a process as."""

    name: str
    uid: int
    gid: int

    def can_enter(self, path: Path) -> bool:
        """Whether this account may enter the folder (or run the program) `path`: the kernel is asked."""
        probe = subprocess.run(  # noqa: S603 -- our own arguments
            ["test", "-x", path],  # noqa: S607 -- wherever this system keeps it
            cwd="/",
            user=self.uid,
            group=self.gid,
            extra_groups=[],
            check=False,
        )
        return probe.returncode == 0


def unprivileged_account() -> Account | None:
    """Return the account to run PostgreSQL as, or None when we are not root and may run it ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(_NAME)
    except KeyError as exc:
        raise LocalError(f"PostgreSQL refuses to run as root, and there is no user '{_NAME}' here.") from exc
    return Account(_NAME, entry.pw_uid, entry.pw_gid)


def private_folder(folder: Path, account: Account | None) -> Path:
    """Make `folder` (mode 0700) for `account` and return it, or the folder that stands in for it.

    The stand-in is used when the account cannot reach `folder`; where it is stands in `<folder>/moved-to`.
    """
    if account is None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
    pointer = folder / "moved-to"
    if pointer.exists():
        folder = Path(pointer.read_text().strip())
    _give(folder, account)
    if account.can_enter(folder):
        return folder
    stand_in = _open_folder() / secrets.token_hex(8)
    pointer.write_text(f"{stand_in}\n")
    _give(stand_in, account)
    return stand_in


def reachable_copy(
    root: Path, folders: Sequence[str], program: str, label: str, account: Account | None
) -> Path:
    """Return `root`, or a copy of its `folders` named `label` when `account` cannot run `program` below it.

    The copy keeps the folders' places relative to each other, since programs find their libraries by them.
    """
    if account is None or account.can_enter(root / program):
        return root
    copy = _open_folder() / label
    if not copy.exists():
        unfinished = copy.with_name(f"{label}.{secrets.token_hex(4)}")
        for folder in folders:
            if (root / folder).exists():
                shutil.copytree(root / folder, unfinished / folder, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", unfinished], check=True)  # noqa: S603, S607 -- as above
        try:
            unfinished.rename(copy)
        except OSError:  # another start was faster: its copy is as good as ours
            shutil.rmtree(unfinished)
    return copy


def _open_folder() -> Path:
    _OPEN_FOLDER.mkdir(parents=True, exist_ok=True)
    _OPEN_FOLDER.chmod(0o755)
    return _OPEN_FOLDER


def _give(folder: Path, account: Account) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chown(folder, account.uid, account.gid)
