"""From kernels to the addresses of their code."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import settings, target
from ..loop.nodes import Kernel
from ..loop.printer import kernel_text
from ..loop.verify import verify
from ..runtime import engine
from ..target.isa import ISA

__all__ = ["entry_addresses", "side_by_side"]

_code: dict[tuple[str, str], int] = {}


def entry_addresses(kernels: Sequence[Kernel], isa: ISA) -> list[int]:
    """The addresses of the entries of kernels; those that nobody has are compiled side by side."""
    texts = [kernel_text(kernel) for kernel in kernels]
    missing = {text: kernel for text, kernel in zip(texts, kernels) if (text, isa.key) not in _code}
    names = {text: "k" + hashlib.sha256(text.encode()).hexdigest()[:16] for text in missing}
    for text, kernel in missing.items():
        if settings.verify:
            verify(kernel)
        if settings.debug >= 4:
            print(text, file=sys.stderr)
    requests = [
        engine.Request(names[text], text, partial(_text_of, kernel, names[text], isa), isa)
        for text, kernel in missing.items()
    ]
    for request, code in zip(requests, engine.load_many(requests) if requests else ()):
        _code[request.key, isa.key] = code.address(request.name)
    return [_code[text, isa.key] for text in texts]


def _text_of(kernel: Kernel, name: str, isa: ISA) -> str:
    return target.emit.kernel_ir(kernel._replace(name=name), isa)


def side_by_side(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of the jobs, which several threads take one after the other; raises the first one's error.

    ``concurrent.futures`` would do it, but takes 4 ms to import.
    """
    results: list[Any] = [None] * len(jobs)
    errors: dict[int, BaseException] = {}
    waiting = iter(range(len(jobs)))

    def work() -> None:
        for k in waiting:
            try:
                results[k] = jobs[k]()
            except BaseException as error:
                errors[k] = error

    threads = [threading.Thread(target=work) for _ in range(max(2, min(len(jobs), os.cpu_count() or 1)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[min(errors)]
    return results
