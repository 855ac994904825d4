"""An older name of ``torch.hub``'s downloads."""

from __future__ import annotations

from typing import Any

from ..hub import load_state_dict_from_url as load_url

try:
    from tqdm import tqdm
except ImportError:

    class tqdm:  # type: ignore[no-redef]
        """Progress, without a bar: the items of an iterable, or a counter that counts."""

        def __init__(self, iterable: Any = None, total: Any = None, **kwargs: Any) -> None:
            self.iterable, self.total, self.n = iterable, total, 0

        def __iter__(self) -> Any:
            for item in self.iterable:
                yield item
                self.n += 1

        def __enter__(self) -> tqdm:
            return self

        def __exit__(self, *exc: object) -> None:
            return None

        def update(self, n: float = 1) -> None:
            """Counts."""
            self.n += n  # type: ignore[assignment]

        def close(self) -> None:
            """Ends the count."""


__all__ = ["load_url", "tqdm"]
