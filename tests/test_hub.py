"""Models and weights by name: local repositories, downloads, and their hashes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import flambeau as torch

HUBCONF = '''
dependencies = ["json"]

def tiny(width=2, **kwargs):
    """A tiny model."""
    import flambeau as torch
    return torch.nn.Linear(width, 1)
'''


def test_local_repository(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    model = torch.hub.load(str(tmp_path), "tiny", source="local", width=3)
    assert model.in_features == 3
    with pytest.raises(RuntimeError, match="Cannot find callable"):
        torch.hub.load(str(tmp_path), "huge", source="local")
    with pytest.raises(ValueError, match="Unknown source"):
        torch.hub.load(str(tmp_path), "tiny", source="elsewhere")
    (tmp_path / "hubconf.py").write_text('dependencies = ["no_such_package"]\n' + HUBCONF.split("\n", 2)[2])
    with pytest.raises(RuntimeError, match="no_such_package"):
        torch.hub.load(str(tmp_path), "tiny", source="local")


def test_weights_are_downloaded_once_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "weights.pt"
    torch.save({"w": torch.arange(3)}, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    named = tmp_path / f"weights-{digest[:8]}.pt"
    source.rename(named)
    kept = tmp_path / "kept"
    for _ in range(2):
        found = torch.hub.load_state_dict_from_url(named.as_uri(), str(kept), check_hash=True, progress=False)
        assert found["w"].tolist() == [0, 1, 2]
    assert capsys.readouterr().err.count("Downloading") == 1
    wrong = tmp_path / "weights-00000000.pt"
    wrong.write_bytes(named.read_bytes())
    with pytest.raises(RuntimeError, match="invalid hash"):
        torch.hub.load_state_dict_from_url(wrong.as_uri(), str(kept), check_hash=True, progress=False)
    assert not (kept / wrong.name).exists() and not list(kept.glob("*.partial"))


def test_where_things_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_places", {})
    assert torch.hub.get_dir() == str(tmp_path / "hub")
    torch.hub.set_dir(tmp_path / "other")
    assert torch.hub.get_dir() == str(tmp_path / "other")
    with pytest.raises(ValueError, match="owner/name"):
        torch.hub.load("nobody", "tiny")
