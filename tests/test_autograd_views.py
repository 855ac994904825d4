"""Writes in place, views, and versions of saved tensors, against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
from autograd_programs import Programs, check

programs = Programs()


def leaf(torch: Any, *shape: int, value: float = 2.0) -> Any:
    return torch.full(shape, value, requires_grad=True)


def inner(torch: Any, *shape: int, value: float = 2.0) -> Any:
    """An intermediate result."""
    return leaf(torch, *shape, value=value) * 1


# -- writes without views ----------------------------------------------------------------------------


@programs.add
def chain(torch):
    x = leaf(torch, 3)
    y = x * 2
    same = y.add_(1).mul_(3)
    y.sum().backward()
    return x.grad, same is y, y._version


@programs.add
def pieces_made_again(torch):
    found = []
    for cut in (lambda t: t.tensor_split(3, 1), lambda t: t.hsplit((2, 5)), lambda t: t.vsplit(2)):
        for _ in range(3):  # the second and third calls find how the pieces were made
            x = torch.arange(40.0).reshape(4, 10).requires_grad_()
            y = x * 1
            for k, part in enumerate(cut(y)):
                part.mul_(k + 2)
            (y * y).sum().backward()
            with torch.no_grad():
                found += [y, x.grad, [p._base is x for p in cut(x)], [tuple(p.shape) for p in cut(x)]]
    return found


@programs.add
def argument_requires_grad(torch):
    w, y = leaf(torch, 3), torch.ones(3)
    y.mul_(w)
    y.sum().backward()
    return y.requires_grad, w.grad


@programs.add
def derivative_reads_the_old_value(torch):
    x, w = leaf(torch, 3), leaf(torch, 3, value=5.0)
    y = x * 1
    y.mul_(w)
    y.sum().backward()
    return x.grad, w.grad


@programs.add
def old_value_of_quotient(torch):
    x, w = leaf(torch, 3), leaf(torch, 3, value=5.0)
    y = x * 1
    y.div_(w)
    y.sum().backward()
    return x.grad, w.grad


@programs.add
def old_value_of_power(torch):
    x = leaf(torch, 3)
    y = x * 1
    y.pow_(3)
    y.sum().backward()
    return x.grad


@programs.add
def old_value_of_sine(torch):
    x = leaf(torch, 3)
    y = x * 1
    y.sin_()
    y.sum().backward()
    return x.grad


@programs.add
def derivative_reads_the_result(torch):
    x = leaf(torch, 3)
    y = x * 1
    y.exp_()
    y.sum().backward()
    return x.grad


@programs.add
def double_backward_through_a_write(torch):
    x = leaf(torch, 3)
    y = x * 1
    y.exp_().mul_(y.detach())
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return first, torch.autograd.grad(first.sum(), x)


@programs.add
def by_itself(torch):
    y = inner(torch, 3)
    y.mul_(y)
    y.sum().backward()


@programs.add
def added_to_itself(torch):
    x = leaf(torch, 3)
    y = x * 1
    y.add_(y)
    y.sum().backward()
    return x.grad


@programs.add
def saved_result_changed(torch):
    y = leaf(torch, 3).exp()
    y.add_(1)
    y.sum().backward()


@programs.add
def saved_argument_changed(torch):
    x, w = leaf(torch, 3), inner(torch, 3)
    y = x * w
    w.add_(1)
    y.sum().backward()


@programs.add
def saved_constant_changed(torch):
    x, w = leaf(torch, 3), torch.ones(3, dtype=torch.float64)
    y = x * w
    w.add_(1)
    y.sum().backward()


@programs.add
def unneeded_argument_changed(torch):
    x = inner(torch, 3)
    y = x * torch.full((3,), 3.0)
    x.add_(1)
    y.sum().backward()
    return y


@programs.add
def saved_leaf_changed_without_grad(torch):
    x = leaf(torch, 3)
    y = x * x
    with torch.no_grad():
        x.add_(1)
    y.sum().backward()


@programs.add
def changed_through_detached(torch):
    x = leaf(torch, 3)
    y = x * 1
    z = y * y
    y.detach().add_(1)
    versions = y._version
    try:
        z.sum().backward()
    except RuntimeError as error:
        return versions, str(error)


@programs.add
def counted_by_hand(torch):
    y = inner(torch, 3)
    z = y.exp()
    torch.autograd.graph.increment_version(z)
    torch.autograd.graph.increment_version([z, y])
    return z._version, y._version


@programs.add
def leaf_written(torch):
    leaf(torch, 2).add_(1)


@programs.add
def leaf_written_without_grad(torch):
    x = leaf(torch, 2)
    with torch.no_grad():
        x.add_(1).mul_(2)
    return x, x.grad_fn, x.is_leaf


@programs.add
def hooks_around_a_write(torch):
    seen: list[Any] = []
    x = leaf(torch, 2)
    y = x * 2
    y.register_hook(lambda g: seen.append(("before", g.clone())))
    y.mul_(3)
    y.register_hook(lambda g: seen.append(("after", g.clone())))
    y.sum().backward()
    return seen


@programs.add
def retained_gradient_is_of_the_new_value(torch):
    y = leaf(torch, 2) * 2
    y.retain_grad()
    y.mul_(3)
    y.sum().backward()
    return y.grad, y.retains_grad


@programs.add
def copied_into(torch):
    x, y = leaf(torch, 2), inner(torch, 2)
    before = y
    y.copy_(x * 3)
    y.sum().backward()
    return x.grad, before is y


@programs.add
def zeroed(torch):
    x = leaf(torch, 2)
    y = x * 2
    y.zero_()
    y.add_(x)
    y.sum().backward()
    return x.grad


@programs.add
def detached_in_place(torch):
    x = leaf(torch, 2)
    y = x * 2
    y.detach_()
    return y, y.grad_fn, y.is_leaf


# -- views -------------------------------------------------------------------------------------------


@programs.add
def relations(torch):
    x = inner(torch, 2, 2)
    v = x[0][1:]
    return v._base is x, v._is_view(), x._is_view(), x.detach()._is_view(), (v * 1)._is_view(), v._version


@programs.add
def write_through_view(torch):
    x = leaf(torch, 2, 2)
    y = x * 1
    v = y[0]
    v.mul_(3)
    y.sum().backward()
    return x.grad, y._version, v._version


@programs.add
def write_through_view_then_use_both(torch):
    x, w = leaf(torch, 2, 2), leaf(torch, 2)
    y = x * 1
    v = y[0]
    v.mul_(w)
    (v * 2).sum().backward(retain_graph=True)
    first = x.grad.clone()
    y.sum().backward()
    return first, x.grad, w.grad


@programs.add
def write_to_base_then_use_view(torch):
    x = leaf(torch, 2, 2)
    y = x * 1
    v = y[0]
    y.mul_(3)
    v.sum().backward()
    return x.grad


@programs.add
def write_through_view_of_view(torch):
    x = leaf(torch, 2, 3)
    y = x * 1
    v = y.t()[1:].reshape(2, 2)
    w = v[0]
    w.mul_(5)
    (y * y).sum().backward()
    return x.grad, y


@programs.add
def two_views(torch):
    x = leaf(torch, 4)
    y = x * 1
    a, b = y[:3], y[1:]
    a.mul_(2)
    b.mul_(3)
    a.add_(1)
    (y * 1).sum().backward(retain_graph=True)
    (a * b).sum().backward()
    return x.grad, a, b


@programs.add
def constant_base(torch):
    w, y = leaf(torch, 2), torch.ones(2, 2)
    y[0].mul_(w)
    y.sum().backward()
    return y.requires_grad, y.is_leaf, w.grad


@programs.add
def constant_base_and_older_view(torch):
    w, y = leaf(torch, 2, 2), torch.ones(2, 2)
    v = y[0]
    before = v.requires_grad
    y.mul_(w)
    z = (v * 3).sum()
    z.backward()
    return before, v.requires_grad, z.requires_grad, w.grad


@programs.add
def base_starts_to_require_grad(torch):
    y = torch.ones(2, 2)
    v = y[0]
    y.requires_grad_()
    return v.requires_grad, v.is_leaf, (v * 2).requires_grad


@programs.add
def view_requires_grad_by_itself(torch):
    y = torch.ones(2, 2)
    v = y[0].requires_grad_()
    (v * 3).sum().backward()
    return y.requires_grad, v.is_leaf, v.grad


@programs.add
def view_requires_grad_and_is_written(torch):
    torch.ones(2, 2)[0].requires_grad_().mul_(2)


@programs.add
def filled_row_by_row(torch):
    w = leaf(torch, 3)
    y = torch.zeros(3, 3)
    for i in range(3):
        y[i] = w * i
    y[:, 1] = 7
    y.sum().backward()
    return y, w.grad


@programs.add
def running_product_in_a_buffer(torch):
    x = leaf(torch, 4)
    y = torch.zeros(5)
    y[0] = 1.0
    for i in range(4):
        y[i + 1] = y[i].clone() * x[i]
    y[4].backward()
    return y, x.grad


@programs.add
def double_backward_through_view(torch):
    x = leaf(torch, 2, 2)
    y = x * 1
    y[0].exp_()
    y[:, 1].mul_(x[0])
    (first,) = torch.autograd.grad((y * y).sum(), x, create_graph=True)
    return first, torch.autograd.grad(first.sum(), x)


@programs.add
def view_of_view_and_hooks(torch):
    seen: list[Any] = []
    x = leaf(torch, 2, 2)
    y = x * 1
    v = y[0]
    v.retain_grad()
    v.mul_(3)
    v.register_hook(lambda g: seen.append(g.clone()))
    (v * 2).sum().backward()
    return seen, v.grad, x.grad


@programs.add
def node_of_view(torch):
    x = inner(torch, 2, 2)
    v = x[0]
    before = v.grad_fn
    v.mul_(2)
    base, view = x.grad_fn, v.grad_fn
    return base, view.next_functions[0][0] is base, view is before, len(base.next_functions)


@programs.add
def write_in_no_grad_between(torch):
    x = leaf(torch, 2, 2)
    y = x * 1
    v = y[0]
    with torch.no_grad():
        y.add_(1)
    (v * v.detach()).sum().backward()
    return x.grad


@programs.add
def permuted_base(torch):
    x = leaf(torch, 2, 3)
    y = (x * 1).t().contiguous().t()
    y.mul_(1)
    v = y[:, 1:].t()
    v.mul_(torch.tensor([[2.0, 3.0], [4.0, 5.0]]))
    (y * y).sum().backward()
    return x.grad


@programs.add
def expanded(torch):
    x = leaf(torch, 1, 3)
    y = x.expand(4, 3)
    (y * y).sum().backward()
    return x.grad, y._base is x


@programs.add
def parameter_views(torch):
    x = leaf(torch, 2, 2)
    v = x.view(4)
    with torch.no_grad():
        x.mul_(3)
    (v * 2).sum().backward()
    return x.grad, v


# -- views where a write is refused ------------------------------------------------------------------


@programs.add
def view_of_leaf_written(torch):
    leaf(torch, 2, 2)[0].add_(1)


@programs.add
def view_made_without_grad(torch):
    x = leaf(torch, 2, 2)
    with torch.no_grad():
        v = x[0]
    return v.requires_grad, v.grad_fn, v.is_leaf, v._base is x


@programs.add
def view_made_without_grad_then_written(torch):
    x = inner(torch, 2, 2)
    with torch.no_grad():
        v = x[0]
    v.add_(1)


@programs.add
def view_made_without_grad_then_base_written(torch):
    x = inner(torch, 2, 2)
    with torch.no_grad():
        v = x[0]
    x.add_(1)
    return v * 2


@programs.add
def view_made_and_written_without_grad(torch):
    x = leaf(torch, 2, 2)
    with torch.no_grad():
        x[0].add_(1)
        x[:, 1].zero_()
    return x, x._version


@programs.add
def view_of_view_made_without_grad(torch):
    x = inner(torch, 2, 2)
    with torch.no_grad():
        v = x[0]
    v[0].mul_(2)


@programs.add
def one_of_several(torch):
    a, _ = inner(torch, 2, 2).unbind()
    a.add_(1)


@programs.add
def one_of_several_parts(torch):
    _, b = inner(torch, 2, 2).split(1)
    b.mul_(2)


@programs.add
def base_of_several(torch):
    x = inner(torch, 2, 2)
    a, _ = x.unbind()
    x.add_(1)
    return a * 2


@programs.add
def one_of_several_constants(torch):
    a, _ = torch.zeros(2, 2).unbind()
    a.add_(leaf(torch, 2))


@programs.add
def several_without_any_grad(torch):
    x = torch.zeros(2, 2)
    a, _ = x.unbind()
    a.add_(1)
    return x


@programs.add
def detached_view(torch):
    inner(torch, 2, 2)[0].detach_()


@pytest.mark.parametrize("program", programs.all)
def test_same_as_pytorch(program: Any) -> None:
    check(program)
