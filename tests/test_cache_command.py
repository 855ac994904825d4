"""``python -m flambeau cache``."""

from __future__ import annotations

import flambeau as torch
from flambeau import kernels, settings
from flambeau.runtime import cache


def test_list_prune_and_clear(tmp_path, capsys):
    with settings.override(cache_dir=str(tmp_path / "kernels"), cache=True):
        disk = cache.current()
        if disk is None:  # a code generator has just been edited: there is no cache
            return
        for k in range(3):
            disk.put(f"{k:064x}", bytes(700_000))
        assert kernels.main([]) == 0
        assert "3 kernels, 2.0 of" in capsys.readouterr().out
        assert kernels.main(["prune", "1"]) == 0
        assert "removed 2 kernels" in capsys.readouterr().out
        assert len(disk.files()) == 1
        assert kernels.main(["clear"]) == 0
        assert disk.files() == []


def test_what_it_does_not_understand(capsys):
    assert kernels.main(["bake"]) == 2 and kernels.main(["list", "all"]) == 2 and kernels.main(["prune", "x"]) == 2
    assert kernels.main(["--help"]) == 0
    assert "usage" in capsys.readouterr().out


def test_warm_calls_common_operators():
    assert len(kernels._tasks()) > 100
    assert torch.is_tensor(kernels._tasks()[0]())
