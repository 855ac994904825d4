"""What `sweep.py` shows: a line for a case, a page with a bar for every case, and the names that no case calls."""

from __future__ import annotations

import html
import importlib
import inspect
import math
import re
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["line", "print_missing", "write"]

SPACES = ("", "nn.functional", "linalg", "fft", "special", "signal.windows", "masked", "sparse", "Tensor")

# Public names that are not timed, by reason.
REASONS = {
    "another name of an operator that is timed": "absolute arccos arccosh arcsin arcsinh arctan arctan2 arctanh"
    " concatenate divide fix greater greater_equal less less_equal multiply negative not_equal subtract trapz resize"
    " row_stack ger bool cdouble gammainc gammaincc gammaln expit psi multigammaln apply_along_axis true_divide",
    "says something about a tensor or a program; no elements are computed": "is_.* are_.* .*autocast.* get_.* set_.* "
    "can_cast promote_types result_type numel typename broadcast_shapes compile compiled_with.* default.* use_.* sym_.*"
    " seed initial_seed manual_seed init_num_threads thread_safe_generator install_as_torch fork q_.* dim .*_dim stride"
    " size ndimension nelement data_ptr const_data_ptr element_size has_names qscheme storage.* untyped_storage"
    " dim_order"
    " .*_hook retain_grad backward type requires_grad_ namespace assert_.* boolean_dispatch as_sparse_gradcheck",
    "moves between files, devices or other libraries": "load save from_file from_dlpack to_dlpack cuda cpu hpu ipu"
    " xpu mtia pin_memory share_memory_ module_load numpy record_stream",
    "takes functions": "vmap while_loop cond map_ map2_ apply_ wait",
    "a view or a number only": "item squeeze_ unsqueeze_ t_ detach_ swapaxes_"
    " swapdims_ transpose_ as_strided_ resize_.* set_ data real imag resolve_neg as_subclass values indices .*_indices"
    " sparse_resize.* is_set_to as_strided new scalar_tensor values_copy .*indices_copy",
}


def line(row: dict[str, Any]) -> str:
    """A result as text."""
    start = f"{row['threads']} {row['mb']:3d} MB  {row['name']:50s}"
    if "error" in row:
        return f"{start} failed: {row['error']}"
    return f"{start} {row['ratio']:6.2f}x {row['flambeau'] * 1e6:10.1f} {row['torch'] * 1e6:10.1f} us"


def _public() -> dict[str, list[str]]:
    """The public functions of the package: name -> where it is."""
    package = importlib.import_module("flambeau")
    found: dict[str, list[str]] = {}
    for space in SPACES:
        home: Any = package
        for part in filter(None, space.split(".")):
            home = getattr(home, part) if hasattr(home, part) else importlib.import_module(f"flambeau.{space}")
        for name in dir(home):
            if not name.startswith("_"):
                value = getattr(home, name, None)
                if callable(value) and not inspect.isclass(value):
                    found.setdefault(name, []).append(space)
    return found


def print_missing(calls: Iterable[str]) -> None:
    """Prints the public names that no case calls, with the reason where there is one."""
    timed = set(re.findall(r"[A-Za-z_]\w*", " ".join(calls)))
    public = _public()
    why: dict[str, list[str]] = {}
    for name in sorted(set(public) - timed):
        if name.endswith("_") and (name[:-1] in public or name[:-1] in timed):
            why.setdefault("writes in place what another operator computes; some of these are timed", []).append(name)
            continue
        for reason, names in REASONS.items():
            if any(re.fullmatch(pattern, name) for pattern in names.split()):
                why.setdefault(reason, []).append(name)
                break
        else:
            why.setdefault("NO CASE", []).append(name)
    print(f"{len(public)} public names, {len(set(public) & timed)} of them in cases")
    for reason, found in why.items():
        print(f"\n{len(found)}: {reason}\n  {' '.join(found)}")


def write(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes a page with a bar for every case, the slowest first."""
    parts = [
        "<!doctype html><meta charset=utf-8><title>flambeau beside PyTorch, operator by operator</title>",
        "<style>body{font:13px system-ui;margin:2em;color-scheme:light dark}td{padding:0 .6em;white-space:nowrap}"
        "i{display:inline-block;height:.8em;background:#3a7}i.s{background:#c53}td.n{text-align:right}"
        "code{white-space:pre}</style><h1>PyTorch's time by flambeau's</h1>"
        "<p>Above 1 flambeau is faster. A bar's length is the logarithm of the ratio; red ones are below 1.",
    ]
    for threads, mb in sorted({(row["threads"], row["mb"]) for row in rows}):
        some = [row for row in rows if (row["threads"], row["mb"]) == (threads, mb)]
        timed = sorted((row for row in some if "ratio" in row), key=lambda row: row["ratio"])
        if timed:
            ratios = [row["ratio"] for row in timed]
            parts.append(
                f"<h2>{threads} thread{'s' * (threads > 1)}, {mb} MB</h2><p>{len(ratios)} cases, geometric mean"
                f" {statistics.geometric_mean(ratios):.2f}, {sum(r < 1 for r in ratios)} below 1,"
                f" {sum(r < 0.5 for r in ratios)} below 0.5.<table>"
            )
        for row in timed:
            width = min(abs(math.log2(row["ratio"])) * 40, 400)
            parts.append(
                f"<tr><td><code>{html.escape(row['name'])}</code><td class=n>{row['ratio']:.2f}"
                f"<td class=n>{row['flambeau'] * 1e6:.0f} us<td><i class={'fs'[row['ratio'] < 1]}"
                f" style='width:{width:.0f}px'></i>"
            )
        parts.append("</table>" * bool(timed))
        failed = [
            f"<li><code>{html.escape(row['name'])}</code> {html.escape(row['error'])}" for row in some if "error" in row
        ]
        parts.append("<h3>Not timed</h3><ul>" * bool(failed) + "".join(failed) + "</ul>" * bool(failed))
    path.write_text("\n".join(parts))
