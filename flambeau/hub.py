"""Models and weights by name: folders with a ``hubconf.py``, and files that are downloaded once and kept.

Downloads go to ``get_dir()`` ($TORCH_HOME/hub, by default ~/.cache/torch/hub, as with PyTorch, so that both use
the same files), are written beside their place first, and are checked against the hash that a file's name ends with.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from .serialization import load as _load_file

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

HASH_REGEX = re.compile(r"-([a-f0-9]*)\.")
MODULE_HUBCONF = "hubconf.py"
_BLOCK = 1 << 17
_places: dict[str, str] = {}


# -- where things are kept ----------------------------------------------------------------------------


def _get_torch_home() -> str:
    """$TORCH_HOME, or "torch" in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def get_dir() -> str:
    """The folder that downloads are kept in."""
    return _places.get("hub") or os.path.join(_get_torch_home(), "hub")


def set_dir(d: str | os.PathLike[str]) -> None:
    """Sets the folder that downloads are kept in."""
    _places["hub"] = os.path.expanduser(d)


# -- downloads ----------------------------------------------------------------------------------------


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Downloads a file to ``dst``, where it appears when it is complete.

    ``hash_prefix`` is what its SHA-256 must begin with: RuntimeError otherwise.  ``progress`` tells on stderr.
    """
    dst = os.path.expanduser(dst)
    with (
        urlopen(Request(url, headers={"User-Agent": "torch.hub"})) as response,
        tempfile.NamedTemporaryFile(dir=os.path.dirname(dst) or ".", suffix=".partial", delete=False) as file,
    ):
        try:
            total = int(response.headers.get("Content-Length") or 0)
            digest, done = hashlib.sha256(), 0
            while block := response.read(_BLOCK):
                file.write(block)
                digest.update(block)
                done += len(block)
                if progress and sys.stderr.isatty():
                    share = f"{100 * done // total} %" if total else f"{done >> 20} MiB"
                    print(f"\r{os.path.basename(dst)}: {share}", end="", file=sys.stderr, flush=True)
            if progress and sys.stderr.isatty():
                print(file=sys.stderr)
            file.close()
            if hash_prefix and not digest.hexdigest().startswith(hash_prefix):
                raise RuntimeError(
                    f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()[: len(hash_prefix)]}")'
                )
            shutil.move(file.name, dst)
        finally:
            file.close()
            if os.path.exists(file.name):
                os.remove(file.name)


def load_state_dict_from_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True, check_hash: bool = False,
    file_name: str | None = None, weights_only: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What ``torch.save`` wrote to the file at a URL, which is downloaded unless it is in ``model_dir`` already.

    ``check_hash``: the file's name holds the beginning of its SHA-256, as ``name-<hash>.ext``, which is checked.
    Nothing in the file is executed, whatever ``weights_only`` says.
    """
    if os.environ.get("TORCH_MODEL_ZOO"):
        warnings.warn("TORCH_MODEL_ZOO is deprecated, please use env TORCH_HOME instead", stacklevel=2)
    folder = os.path.join(get_dir(), "checkpoints") if model_dir is None else model_dir
    os.makedirs(folder, exist_ok=True)
    name = os.path.basename(urlparse(url).path) if file_name is None else file_name
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        sys.stderr.write(f'Downloading: "{url}" to {path}\n')
        found = HASH_REGEX.search(name) if check_hash else None
        download_url_to_file(url, path, found[1] if found else None, progress)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.infolist()
            # A file that was itself put into an archive; what ``save`` writes is an archive of many files.
            packed = len(names) == 1 and not names[0].is_dir()
            if packed:
                with archive.open(names[0]) as member, tempfile.TemporaryDirectory() as scratch:
                    inner = os.path.join(scratch, "member")
                    with open(inner, "wb") as file:
                        shutil.copyfileobj(member, file)
                    return _load_file(inner, map_location=map_location)  # type: ignore[no-any-return]
    return _load_file(path, map_location=map_location)  # type: ignore[no-any-return]


# -- repositories -------------------------------------------------------------------------------------


def _repository(github: str) -> tuple[str, str, str | None]:
    """(owner, name, branch or tag) of "owner/name[:ref]"; raises ValueError for other texts."""
    if "/" not in github:
        raise ValueError(f"expected a repository 'owner/name' or 'owner/name:tag', got {github!r}")
    full, _, ref = github.partition(":")
    owner, _, name = full.partition("/")
    return owner, name, ref or None


def _trusted(owner: str, name: str, trust: Any) -> None:
    """Asks or refuses, as ``trust_repo`` says, before code of a repository is downloaded and run."""
    listing = Path(get_dir()) / "trusted_list"
    known = listing.read_text().split() if listing.exists() else []
    key = f"{owner}_{name}"
    if (
        trust is True
        or trust == "True"
        or key in known
        or owner in ("facebookresearch", "facebookincubator", "pytorch")
    ):
        return
    if trust is None:
        warnings.warn(f"You are about to run code of an untrusted repository {owner}/{name}", stacklevel=4)
        return
    answer = input(f"The repository {owner}/{name} does not belong to the list of trusted ones. Trust it (y/N)? ")
    if answer.lower() not in ("y", "yes"):
        raise Exception("Untrusted repository.")
    listing.write_text("\n".join([*known, key]) + "\n")


def _folder(github: str, force_reload: bool, verbose: bool, trust_repo: Any) -> str:
    """The folder of a repository of GitHub, downloaded unless it is there."""
    owner, name, ref = _repository(github)
    os.makedirs(get_dir(), exist_ok=True)
    ref = ref or "main"
    folder = os.path.join(get_dir(), "_".join([owner, name, ref.replace("/", "_")]))
    _trusted(owner, name, trust_repo)
    if os.path.exists(folder) and not force_reload:
        if verbose:
            sys.stderr.write(f"Using cache found in {folder}\n")
        return folder
    with tempfile.TemporaryDirectory(dir=get_dir()) as scratch:
        archive = os.path.join(scratch, "archive.zip")
        download_url_to_file(f"https://github.com/{owner}/{name}/zipball/{ref}", archive, progress=False)
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(scratch)
            top = packed.namelist()[0].split("/")[0]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(os.path.join(scratch, top), folder)
    return folder


@contextmanager
def _on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _hubconf(folder: str) -> ModuleType:
    path = os.path.join(folder, MODULE_HUBCONF)
    if not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    spec = importlib.util.spec_from_file_location(MODULE_HUBCONF, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _entry(module: ModuleType, name: str) -> Callable[..., Any]:
    if not isinstance(name, str):
        raise ValueError("Invalid input: model should be a string of function name")
    missing = [m for m in getattr(module, "dependencies", []) if importlib.util.find_spec(m) is None]
    if missing:
        raise RuntimeError(f"Missing dependencies: {', '.join(missing)}")
    found = getattr(module, name, None)
    if found is None or not callable(found):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return found  # type: ignore[no-any-return]


def load(
    repo_or_dir: str, model: str, *args: Any, source: str = "github", trust_repo: Any = "check",
    force_reload: bool = False, verbose: bool = True, skip_validation: bool = False, **kwargs: Any,
) -> Any:  # fmt: skip
    """Calls the function ``model`` of the ``hubconf.py`` of a repository of GitHub, or (source="local") of a folder.

    Raises ValueError for other sources, RuntimeError when there is no such function.
    """
    source = source.lower()
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    folder = repo_or_dir if source == "local" else _folder(repo_or_dir, force_reload, verbose, trust_repo)
    with _on_path(folder):
        return _entry(_hubconf(folder), model)(*args, **kwargs)


def list(
    github: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check",
    verbose: bool = True,
) -> Any:  # fmt: skip
    """The names of the functions in the ``hubconf.py`` of a repository of GitHub."""
    folder = _folder(github, force_reload, verbose, trust_repo)
    with _on_path(folder):
        module = _hubconf(folder)
    return [name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")]


def help(
    github: str, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = "check"
) -> str | None:
    """The docstring of a function in the ``hubconf.py`` of a repository of GitHub."""
    folder = _folder(github, force_reload, True, trust_repo)
    with _on_path(folder):
        return _entry(_hubconf(folder), model).__doc__
