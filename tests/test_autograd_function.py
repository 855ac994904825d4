"""``autograd.Function`` against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
from autograd_programs import Programs, check

programs = Programs()


def leaf(torch: Any, *shape: int, value: float = 2.0) -> Any:
    return torch.full(shape, value, requires_grad=True)


def make(torch: Any, forward: Any, backward: Any = lambda ctx, *grads: grads, **members: Any) -> Any:
    """A Function with these static methods."""
    body = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    body.update({name: staticmethod(member) for name, member in members.items()})
    return type("Mine", (torch.autograd.Function,), body)


# -- the usual ---------------------------------------------------------------------------------------


@programs.add
def exponential(torch):
    class Exp(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x.exp()
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad):
            (y,) = ctx.saved_tensors
            return grad * y

    x = leaf(torch, 3)
    y = Exp.apply(x)
    node = y.grad_fn
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return y, first, second, node.name(), node.saved_tensors[0].grad_fn is node, node.next_functions[0][0]


@programs.add
def several_inputs_and_outputs(torch):
    def forward(ctx, a, n, b):
        ctx.save_for_backward(a, b)
        ctx.n = n
        return a * b, a + n

    def backward(ctx, g, h):
        a, b = ctx.saved_tensors
        return g * b + h, None, g * a

    x, w = leaf(torch, 2), leaf(torch, 2, value=3.0)
    y, z = make(torch, forward, backward).apply(x, 4, w)
    (y * z).sum().backward()
    return x.grad, w.grad, y.grad_fn is z.grad_fn, y.output_nr, z.output_nr


@programs.add
def setup_context(torch):
    def setup(ctx, inputs, output):
        _, n = inputs
        ctx.save_for_backward(output)
        ctx.n = n

    def backward(ctx, g):
        return g * ctx.saved_tensors[0] * ctx.n, None

    x = leaf(torch, 2)
    f = make(torch, lambda x, n=3: x * n, backward, setup_context=setup)
    y = f.apply(x)
    y.sum().backward()
    return y, x.grad


@programs.add
def needs_input_grad(torch):
    seen: list[Any] = []

    def forward(ctx, a, n, b):
        seen.append(ctx.needs_input_grad)
        return a * b

    def backward(ctx, g):
        seen.append(ctx.needs_input_grad)
        return g, None, None

    f = make(torch, forward, backward)
    f.apply(leaf(torch, 2), 3, torch.ones(2)).sum().backward()
    with torch.no_grad():
        y = f.apply(leaf(torch, 2), 3, torch.ones(2))
    return seen, y.requires_grad


@programs.add
def missing_gradients_are_zeros(torch):
    seen: list[Any] = []

    def backward(ctx, g, h):
        seen.append((g, h))
        return g

    f = make(torch, lambda ctx, a: (a * 2, a * 3), backward)
    f.apply(leaf(torch, 2))[0].sum().backward()
    return seen


@programs.add
def missing_gradients_stay_missing(torch):
    seen: list[Any] = []

    def forward(ctx, a):
        ctx.set_materialize_grads(False)
        return a * 2, a * 3

    def backward(ctx, g, h):
        seen.append((g, h))
        return g

    make(torch, forward, backward).apply(leaf(torch, 2))[0].sum().backward()
    return seen


@programs.add
def none_travels_on(torch):
    seen: list[Any] = []
    x = leaf(torch, 2)

    def backward(ctx, g):
        seen.append(g)
        return g

    first = make(torch, lambda ctx, a: a * 2, backward)
    last = make(torch, lambda ctx, a: a * 2, lambda ctx, g: None)
    last.apply(first.apply(x) * 3).sum().backward()
    return seen, x.grad


@programs.add
def hooks_see_none(torch):
    seen: list[Any] = []
    x = leaf(torch, 2)
    x.register_hook(lambda g: seen.append(("leaf", g)))
    x.register_post_accumulate_grad_hook(lambda t: seen.append(("after", t.grad)))
    y = x * 2
    y.register_hook(lambda g: seen.append(("tensor", g)))
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append(("node", inputs, outputs)))
    y.grad_fn.register_prehook(lambda grads: seen.append(("before", grads)))
    y.retain_grad()
    make(torch, lambda ctx, a: a * 2, lambda ctx, g: None).apply(y).sum().backward()
    return seen, y.grad, x.grad


@programs.add
def none_is_unused(torch):
    x = leaf(torch, 2)
    f = make(torch, lambda ctx, a: a * 2, lambda ctx, g: None)
    return torch.autograd.grad(f.apply(x).sum(), x, allow_unused=True)


@programs.add
def other_outputs_pass(torch):
    seen: list[Any] = []

    def backward(ctx, *grads):
        seen.append(grads)
        return grads[0]

    y = make(torch, lambda ctx, a: (a * 2, 3, "x"), backward).apply(leaf(torch, 2))
    y[0].sum().backward()
    return y, seen


@programs.add
def list_is_one_output(torch):
    y = make(torch, lambda ctx, a: [a * 2, 1]).apply(leaf(torch, 2))
    return type(y).__name__, y


@programs.add
def non_differentiable(torch):
    seen: list[Any] = []

    def forward(ctx, a):
        r = a * 3
        ctx.mark_non_differentiable(r)
        return a * 2, r

    def backward(ctx, *grads):
        seen.append(grads)
        return grads[0]

    y, r = make(torch, forward, backward).apply(leaf(torch, 2))
    y.sum().backward()
    return y.requires_grad, r.requires_grad, seen


@programs.add
def integer_output(torch):
    y, n = make(torch, lambda ctx, a: (a * 2, a.long()), lambda ctx, g, h: g).apply(leaf(torch, 2))
    y.sum().backward()
    return y.requires_grad, n.requires_grad


@programs.add
def attributes_of_the_context(torch):
    def forward(ctx, a):
        ctx.k = 3
        return a * 2

    x = leaf(torch, 2)
    y = make(torch, forward, lambda ctx, g: g * ctx.k).apply(x)
    y.grad_fn.k = 5
    return torch.autograd.grad(y.sum(), x)


@programs.add
def tensors_in_a_list_are_no_inputs(torch):
    return make(torch, lambda ctx, a: a[0] * 2).apply([leaf(torch, 2)])


@programs.add
def gradients_are_reduced_and_cast(torch):
    x = leaf(torch, 2)
    make(torch, lambda ctx, a: a * 2, lambda ctx, g: torch.ones(3, 2, dtype=torch.float64)).apply(x).sum().backward()
    return x.grad


@programs.add
def trailing_none(torch):
    x = leaf(torch, 2)
    make(torch, lambda ctx, a: a * 2, lambda ctx, g: (g, None, None)).apply(x).sum().backward()
    return x.grad


@programs.add
def only_vjp(torch):
    body = {"forward": staticmethod(lambda ctx, a: a * 2), "vjp": staticmethod(lambda ctx, g: g * 7)}
    f = type("Mine", (torch.autograd.Function,), body)
    x = leaf(torch, 2)
    return torch.autograd.grad(f.apply(x).sum(), x)


@programs.add
def subclass(torch):
    class A(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            return a * 2

        @staticmethod
        def backward(ctx, g):
            return g * 5

    class B(A):
        pass

    x = leaf(torch, 2)
    y = B.apply(x)
    return y.grad_fn.name(), B._backward_cls._forward_cls is B, torch.autograd.grad(y.sum(), x)


@programs.add
def backward_inside_backward(torch):
    """A Function that computes its gradient with autograd, as checkpointing does."""

    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.exp()

    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        b = a.detach().requires_grad_()
        with torch.enable_grad():
            y = b.exp()
        torch.autograd.backward(y, g)
        return b.grad

    x = leaf(torch, 2)
    f = make(torch, forward, backward)
    f.apply(f.apply(x) * 0.1).sum().backward()
    return x.grad


@programs.add
def views_inside_backward(torch):
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.view(4).exp()

    def backward(ctx, g):
        b = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            c = b * 1
            c.view(4).mul_(2)
            y = c.view(4).exp()
        return torch.autograd.grad(y, b, g)[0]

    x = leaf(torch, 2, 2, value=0.5)
    make(torch, forward, backward).apply(x).sum().backward()
    return x.grad


@programs.add
def differentiated_twice(torch):
    """The derivative of a Function is differentiable when its backward is made of operators."""

    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a * a * a

    x = leaf(torch, 2)
    y = make(torch, forward, lambda ctx, g: 3 * ctx.saved_tensors[0] ** 2 * g).apply(x)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return first, torch.autograd.grad(first.sum(), x)


@programs.add
def intermediates_are_constant(torch):
    def forward(ctx, a):
        t = a * 3
        ctx.save_for_backward(t)
        return t * 2

    x = leaf(torch, 2)
    y = make(torch, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(x)
    return torch.autograd.grad(y.sum(), x, create_graph=True)


# -- inputs returned and written ---------------------------------------------------------------------


@programs.add
def input_returned(torch):
    x = leaf(torch, 2)
    y = make(torch, lambda ctx, a: a).apply(x)
    y.sum().backward()
    return y is x, y.grad_fn, y._is_view(), y._base is x, x.grad


@programs.add
def input_returned_and_written(torch):
    make(torch, lambda ctx, a: a).apply(leaf(torch, 2) * 1).add_(1)


@programs.add
def view_returned_and_written(torch):
    make(torch, lambda ctx, a: a.view(-1)).apply(leaf(torch, 2) * 1).add_(1)


@programs.add
def constant_input_returned(torch):
    z = torch.ones(2)
    y = make(torch, lambda ctx, a: a).apply(z)
    return y is z, y.requires_grad, y._base is z


@programs.add
def dirty(torch):
    def forward(ctx, a):
        ctx.mark_dirty(a)
        a.mul_(3)
        return a

    x = leaf(torch, 2)
    z = x * 1
    y = make(torch, forward, lambda ctx, g: g * 3).apply(z)
    y.sum().backward()
    return y is z, y, x.grad, z._version


@programs.add
def dirty_and_saved(torch):
    def forward(ctx, a):
        ctx.mark_dirty(a)
        a.exp_()
        ctx.save_for_backward(a)
        return a

    x = leaf(torch, 2)
    y = make(torch, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(x * 1)
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return first, torch.autograd.grad(first.sum(), x)


@programs.add
def dirty_view(torch):
    def forward(ctx, a):
        ctx.mark_dirty(a)
        a.mul_(3)
        return a

    x = leaf(torch, 2)
    z = x * 1
    v = z[:1]
    y = make(torch, forward, lambda ctx, g: g * 3).apply(v)
    z.sum().backward()
    return y is v, x.grad, z.grad_fn


@programs.add
def dirty_leaf(torch):
    def forward(ctx, a):
        ctx.mark_dirty(a)
        return a.add_(1)

    make(torch, forward).apply(leaf(torch, 2))


@programs.add
def dirty_not_returned(torch):
    def forward(ctx, a):
        ctx.mark_dirty(a)
        return a.add_(1) * 2

    make(torch, forward).apply(leaf(torch, 2) * 1)


@programs.add
def dirty_view_and_more(torch):
    def forward(ctx, a):
        ctx.mark_dirty(a)
        return a.add_(1), a * 2

    make(torch, forward).apply((leaf(torch, 2) * 1)[:1])


@programs.add
def non_differentiable_input(torch):
    def forward(ctx, a):
        ctx.mark_non_differentiable(a)
        return a

    x = leaf(torch, 2)
    y = make(torch, forward).apply(x)
    return y.requires_grad, y is x, x.requires_grad


# -- errors ------------------------------------------------------------------------------------------


@programs.add
def saved_output_changed(torch):
    def forward(ctx, a):
        y = a * 2
        ctx.save_for_backward(y)
        return y

    y = make(torch, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(leaf(torch, 2))
    y.add_(1)
    y.sum().backward()


@programs.add
def saved_tensors_freed(torch):
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a * 2

    y = make(torch, forward, lambda ctx, g: g * ctx.saved_tensors[0]).apply(leaf(torch, 2)).sum()
    y.backward()
    y.backward()


@programs.add
def run_twice_without_saved_tensors(torch):
    x = leaf(torch, 2)
    y = make(torch, lambda ctx, a: a * 2).apply(x).sum()
    y.backward()
    y.backward()
    return x.grad


@programs.add
def too_many_gradients(torch):
    make(torch, lambda ctx, a: a * 2, lambda ctx, g: (g, g)).apply(leaf(torch, 2)).sum().backward()


@programs.add
def too_few_gradients(torch):
    make(torch, lambda ctx, a, b: a * b, lambda ctx, g: g).apply(leaf(torch, 2), leaf(torch, 2)).sum().backward()


@programs.add
def gradient_of_a_number(torch):
    make(torch, lambda ctx, a, n: a * n, lambda ctx, g: (g, g)).apply(leaf(torch, 2), 3).sum().backward()


@programs.add
def gradient_that_is_no_tensor(torch):
    make(torch, lambda ctx, a: a * 2, lambda ctx, g: 3).apply(leaf(torch, 2)).sum().backward()


@programs.add
def gradient_of_another_shape(torch):
    make(torch, lambda ctx, a: a * 2, lambda ctx, g: torch.ones(3)).apply(leaf(torch, 2)).sum().backward()


@programs.add
def gradient_too_small(torch):
    make(torch, lambda ctx, a: a * 2, lambda ctx, g: torch.ones(1)).apply(leaf(torch, 2)).sum().backward()


@programs.add
def no_forward(torch):
    type("Mine", (torch.autograd.Function,), {}).apply(leaf(torch, 2))


@programs.add
def no_backward(torch):
    f = type("Mine", (torch.autograd.Function,), {"forward": staticmethod(lambda ctx, a: a * 2)})
    f.apply(leaf(torch, 2)).sum().backward()


@programs.add
def both_backward_and_vjp(torch):
    make(torch, lambda ctx, a: a * 2, vjp=lambda ctx, g: g).apply(leaf(torch, 2)).sum().backward()


@programs.add
def number_saved(torch):
    def forward(ctx, a):
        ctx.save_for_backward(a, 3)
        return a * 2

    make(torch, forward).apply(leaf(torch, 2))


@programs.add
def none_saved(torch):
    def forward(ctx, a):
        ctx.save_for_backward(a, None)
        return a * 2

    return make(torch, forward).apply(leaf(torch, 2)).grad_fn.saved_tensors


@programs.add
def instance_called(torch):
    make(torch, lambda ctx, a: a)()(leaf(torch, 2))


# -- once_differentiable -----------------------------------------------------------------------------


@programs.add
def once(torch):
    backward = torch.autograd.function.once_differentiable(lambda ctx, g: g * 2)
    x = leaf(torch, 2)
    make(torch, lambda ctx, a: a * 2, backward).apply(x).sum().backward()
    return x.grad


@programs.add
def once_but_twice(torch):
    backward = torch.autograd.function.once_differentiable(lambda ctx, g: g * 2)
    x = leaf(torch, 2)
    y = x * 1
    z = make(torch, lambda ctx, a: a**2, backward).apply(y)
    (first,) = torch.autograd.grad((z**2).sum(), y, create_graph=True)
    first.sum().backward()


@programs.add
def once_and_constant_seed(torch):
    backward = torch.autograd.function.once_differentiable(lambda ctx, g: g * 2)
    x = leaf(torch, 2)
    y = make(torch, lambda ctx, a: a * 2, backward).apply(x)
    return torch.autograd.grad(y.sum(), x, create_graph=True)


@pytest.mark.parametrize("program", programs.all)
def test_same_as_pytorch(program: Any) -> None:
    check(program)
