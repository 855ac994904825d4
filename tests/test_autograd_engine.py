"""The engine, ``backward`` and ``grad``, and hooks, against PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
from autograd_programs import Programs, check

programs = Programs()


def leaf(torch: Any, *shape: int, value: float = 2.0) -> Any:
    return torch.full(shape, value, requires_grad=True)


# -- gradients ---------------------------------------------------------------------------------------


@programs.add
def simple(torch):
    x, w = leaf(torch, 3), leaf(torch, 3, value=5.0)
    (x * w + x).exp().sum().backward()
    return x.grad, w.grad


@programs.add
def second_order_after_an_inner_operator_was_differentiated(torch):
    """The kernel of the loss holds a square root, whose derivative was used alone before."""
    x = leaf(torch, 4)
    torch.autograd.grad(x.sqrt().sum(), x, create_graph=True)
    a, b = (torch.arange(35.0, dtype=torch.float64).add(k).sin().reshape(5, 7).requires_grad_() for k in (0, 1))
    target = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0], dtype=torch.float64)
    loss = torch.nn.functional.cosine_embedding_loss(a, b, target, margin=-0.3, reduction="none")
    weights = torch.arange(5.0, dtype=torch.float64).cos().requires_grad_()
    firsts = torch.autograd.grad(loss, (a, b), weights, create_graph=True)
    return torch.autograd.grad(firsts, (a, b, weights), (b.detach(), a.detach()))


@programs.add
def diamond(torch):
    x = leaf(torch, 2)
    y = x * 3
    (y * y + y * x).sum().backward()
    return x.grad


@programs.add
def broadcast(torch):
    x, w, b = leaf(torch, 2, 1), leaf(torch, 3), leaf(torch)
    (x * w + b).sum().backward()
    return x.grad, w.grad, b.grad


@programs.add
def broadcast_new_dimensions(torch):
    x, w = leaf(torch, 4, 1, 3), leaf(torch, 2, 3)
    (x * w).sum().backward()
    return x.grad, w.grad


@programs.add
def many_uses(torch):
    x = leaf(torch, 2)
    (x + x + x * x + x.exp() + x).sum().backward()
    return x.grad


@programs.add
def second_backward_accumulates(torch):
    x = leaf(torch, 2)
    (x * x).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    return x.grad is first, x.grad


@programs.add
def promoted_types(torch):
    x = torch.ones(2, requires_grad=True)
    y = torch.ones(2, dtype=torch.float64, requires_grad=True)
    (x * y).sum().backward()
    return x.grad, y.grad


@programs.add
def real_times_complex(torch):
    x = torch.ones(2, requires_grad=True)
    z = torch.tensor([1 + 2j, 3 - 1j])
    y = x * z
    y.backward(torch.tensor([1 + 1j, 1 - 1j]))
    return x.grad


@programs.add
def integers_are_constant(torch):
    x = leaf(torch, 2)
    n = torch.tensor([2, 3])
    y = x * n
    y.sum().backward()
    return x.grad, n.requires_grad, (n * 2).requires_grad


@programs.add
def leaf_as_root(torch):
    x = leaf(torch, 2)
    x.backward(torch.tensor([1.0, 2.0]))
    return x.grad


@programs.add
def root_is_input(torch):
    x = leaf(torch, 2)
    y = x * 2
    return torch.autograd.grad([y, y * 2], [y], [torch.ones(2), torch.ones(2)])


@programs.add
def same_root_twice(torch):
    x = leaf(torch, 2)
    y = x * 2
    return torch.autograd.grad([y, y], [x], [torch.ones(2), torch.ones(2)])


@programs.add
def same_input_twice(torch):
    x = leaf(torch, 2)
    return torch.autograd.grad((x * 2).sum(), [x, x])


@programs.add
def grad_of_leaf_by_itself(torch):
    x = leaf(torch, 2)
    return torch.autograd.grad(x, x, torch.ones(2))


@programs.add
def grad_leaves_grad_alone(torch):
    x = leaf(torch, 2)
    found = torch.autograd.grad((x * x).sum(), x)
    return found, x.grad


@programs.add
def grad_of_intermediate_and_leaf(torch):
    x = leaf(torch, 2)
    y = x * 2
    return torch.autograd.grad((y * 3).sum(), [x, y])


@programs.add
def batched_grad(torch):
    x = leaf(torch, 2)
    return torch.autograd.grad(x * x, x, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), is_grads_batched=True)


@programs.add
def backward_with_inputs(torch):
    x, w = leaf(torch, 2), leaf(torch, 2)
    y = x * w
    y.sum().backward(inputs=[w])
    return x.grad, w.grad


@programs.add
def backward_with_intermediate_input(torch):
    x = leaf(torch, 2)
    y = x * 2
    y.sum().backward(inputs=y)
    return y.grad, x.grad, y.retains_grad


@programs.add
def unused_allowed(torch):
    x, y = leaf(torch, 2), leaf(torch, 2)
    return torch.autograd.grad((x * 2).sum(), [x, y], allow_unused=True)


@programs.add
def unused_materialized(torch):
    x, y = leaf(torch, 2), leaf(torch, 2)
    return torch.autograd.grad((x * 2).sum(), [x, y], materialize_grads=True)


@programs.add
def seeds_of_two_roots(torch):
    x = leaf(torch, 2)
    y = x * 2
    torch.autograd.backward([y.sum(), y], [None, torch.ones(2)])
    return x.grad


@programs.add
def seed_of_another_type(torch):
    x = leaf(torch, 2)
    (x * 2).backward(torch.ones(2, dtype=torch.float64))
    return x.grad


@programs.add
def one_element_needs_no_seed(torch):
    x = leaf(torch, 1, 1)
    (x * 3).backward()
    return x.grad


@programs.add
def gradient_edge_as_root_and_input(torch):
    x = leaf(torch, 2)
    y = x * 2
    edge = torch.autograd.graph.get_gradient_edge(y)
    found = torch.autograd.grad((y * 3).sum(), [edge], retain_graph=True)
    torch.autograd.backward(edge, torch.ones(2))
    return found, x.grad


# -- higher orders -----------------------------------------------------------------------------------


@programs.add
def double_backward(torch):
    x = leaf(torch, 3)
    y = (x * x * x).sum()
    (first,) = torch.autograd.grad(y, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    (third,) = torch.autograd.grad(second.sum(), x)
    return first, second, third


@programs.add
def double_backward_through_broadcast(torch):
    x, w = leaf(torch, 2, 1), leaf(torch, 3)
    (first,) = torch.autograd.grad((x * w).exp().sum(), w, create_graph=True)
    return torch.autograd.grad(first.sum(), [x, w])


@programs.add
def gradient_penalty(torch):
    x, w = leaf(torch, 2, value=0.5), leaf(torch, 2, value=0.3)
    (first,) = torch.autograd.grad((x * w).sin().sum(), x, create_graph=True)
    loss = (first * first).sum()
    loss.backward()
    return x.grad, w.grad


@programs.add
def create_graph_accumulates_out_of_place(torch):
    x = leaf(torch, 2)
    (x * x).sum().backward()
    first = x.grad
    (x * x * x).sum().backward(create_graph=True)
    return x.grad is first, x.grad


# -- freeing -----------------------------------------------------------------------------------------


@programs.add
def second_run_without_saved_tensors(torch):
    x = leaf(torch, 2)
    y = (x + 1).sum()
    y.backward()
    y.backward()
    return x.grad


@programs.add
def second_run_with_saved_tensors(torch):
    x = leaf(torch, 2)
    y = (x * x).sum()
    y.backward()
    y.backward()


@programs.add
def retain_graph(torch):
    x = leaf(torch, 2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    return x.grad


@programs.add
def create_graph_without_retaining(torch):
    x = leaf(torch, 2)
    y = (x * x).sum()
    torch.autograd.grad(y, x, retain_graph=False, create_graph=True)
    return torch.autograd.grad(y, x)


@programs.add
def freed_part_of_a_graph(torch):
    x = leaf(torch, 2)
    y = x.exp()
    (y * 2).sum().backward()
    return (y + 1).sum().backward()


# -- .grad -------------------------------------------------------------------------------------------


@programs.add
def gradients_share_no_memory(torch):
    a, b = leaf(torch, 2), leaf(torch, 2)
    seed = torch.ones(2)
    (a + b).backward(seed)
    a.grad.mul_(10)
    seed.mul_(100)
    return a.grad, b.grad


@programs.add
def gradient_of_view_shares_no_memory(torch):
    a, b = leaf(torch, 2), leaf(torch, 1, 2)
    (a * 1 + b.view(2)).backward(torch.ones(2))
    a.grad.mul_(10)
    return a.grad, b.grad


@programs.add
def strides_follow_the_leaf(torch):
    a = torch.ones(2, 3).t().requires_grad_()
    (a * 2).sum().backward()
    b = torch.ones(2, 3, requires_grad=True)
    (b.t() * torch.ones(3, 2)).sum().backward()
    c = torch.ones(2, 3, requires_grad=True)
    c.sum().backward()
    return a.grad.stride(), b.grad.stride(), c.grad.stride()


@programs.add
def assigned_grad_is_added_to(torch):
    x = leaf(torch, 2)
    mine = torch.ones(2)
    x.grad = mine
    (x * 3).sum().backward()
    return x.grad is mine, mine


@programs.add
def delete_grad(torch):
    x = leaf(torch, 2)
    x.sum().backward()
    del x.grad
    before = x.grad
    x.sum().backward()
    return before, x.grad


@programs.add
def grad_of_another_shape(torch):
    leaf(torch, 2).grad = torch.ones(3)


@programs.add
def grad_of_itself(torch):
    x = leaf(torch, 2)
    x.grad = x


@programs.add
def grad_of_another_kind(torch):
    leaf(torch, 2).grad = 3


# -- errors ------------------------------------------------------------------------------------------


@programs.add
def not_scalar(torch):
    (leaf(torch, 2) * 2).backward()


@programs.add
def requires_no_grad(torch):
    torch.ones(()).backward()


@programs.add
def second_root_requires_no_grad(torch):
    torch.autograd.backward([leaf(torch, 2).sum(), torch.ones(())])


@programs.add
def complex_scalar(torch):
    (torch.ones((), requires_grad=True, dtype=torch.complex64) * 2).backward()


@programs.add
def seed_of_another_shape(torch):
    (leaf(torch, 2) * 2).backward(torch.ones(3))


@programs.add
def seed_complex_for_real(torch):
    (leaf(torch, 2) * 2).backward(torch.ones(2, dtype=torch.complex64))


@programs.add
def seed_of_another_kind(torch):
    torch.autograd.backward([leaf(torch, 2).sum()], [3.0])


@programs.add
def seeds_of_another_number(torch):
    x = leaf(torch, 2)
    torch.autograd.grad([x * 2, x * 3], x, [torch.ones(2)])


@programs.add
def unused(torch):
    x, y = leaf(torch, 2), leaf(torch, 2)
    torch.autograd.grad((x * 2).sum(), [x, y])


@programs.add
def unused_and_not_required(torch):
    torch.autograd.grad((leaf(torch, 2) * 2).sum(), [torch.ones(2)])


@programs.add
def contradiction(torch):
    x = leaf(torch, 2)
    torch.autograd.grad((x * 2).sum(), [x], allow_unused=False, materialize_grads=True)


@programs.add
def no_inputs(torch):
    leaf(torch, 2).sum().backward(inputs=[])


@programs.add
def no_roots(torch):
    return torch.autograd.backward([])


@programs.add
def integers_require_no_grad(torch):
    torch.ones(2, dtype=torch.int64).requires_grad_()


@programs.add
def intermediate_cannot_stop_requiring(torch):
    (leaf(torch, 2) * 2).requires_grad = False


@programs.add
def intermediate_may_keep_requiring(torch):
    return (leaf(torch, 2) * 2).requires_grad_()


@programs.add
def edge_of_constant(torch):
    torch.autograd.graph.get_gradient_edge(torch.ones(2))


# -- the graph as seen -------------------------------------------------------------------------------


@programs.add
def nodes(torch):
    x, w = leaf(torch, 2), leaf(torch, 2)
    y = x * w
    z = y + 1
    multiplied, accumulate = z.grad_fn.next_functions[0][0], y.grad_fn.next_functions[0][0]
    return (
        z.grad_fn,
        multiplied is y.grad_fn,
        accumulate.variable is x,
        accumulate,
        len(y.grad_fn.next_functions),
        x.is_leaf,
        y.is_leaf,
        x.grad_fn,
        y.output_nr,
        accumulate is (x + 1).grad_fn.next_functions[0][0],
    )


@programs.add
def node_is_callable(torch):
    y = leaf(torch, 2) * 2
    return y.grad_fn(torch.ones(2))


@programs.add
def metadata(torch):
    node = (leaf(torch, 2) * 2).grad_fn
    node.metadata["note"] = 3
    return node.metadata, hasattr(node, "note")


@programs.add
def saved_arguments(torch):
    x = leaf(torch, 2)
    y = x * x
    node = x.exp().grad_fn
    return y.grad_fn._saved_self is x, node._saved_result, "_saved_result" in dir(node)


@programs.add
def saved_result_freed(torch):
    y = leaf(torch, 2).exp()
    y.sum().backward()
    return y.grad_fn._saved_result


# -- hooks -------------------------------------------------------------------------------------------


@programs.add
def order_of_hooks(torch):
    seen: list[Any] = []
    x = leaf(torch, 2)
    x.register_hook(lambda g: seen.append("leaf"))
    x.register_post_accumulate_grad_hook(lambda t: seen.append("after"))
    y = x * 2
    y.retain_grad()
    y.register_hook(lambda g: seen.append("first"))
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append("node"))
    y.grad_fn.register_prehook(lambda grads: seen.append("before"))
    y.register_hook(lambda g: seen.append("second"))
    accumulate = y.grad_fn.next_functions[0][0]
    accumulate.register_hook(lambda inputs, outputs: seen.append(("accumulated", inputs, outputs)))
    accumulate.register_prehook(lambda grads: seen.append("before accumulating"))
    y.sum().backward()
    return seen


@programs.add
def hook_changes_gradient(torch):
    x = leaf(torch, 2)
    x.register_hook(lambda g: g * 10)
    y = x * 2
    y.register_hook(lambda g: g + 1)
    y.sum().backward()
    return x.grad


@programs.add
def retained_gradient_is_after_hooks(torch):
    y = leaf(torch, 2) * 2
    y.retain_grad()
    y.register_hook(lambda g: g * 5)
    y.sum().backward()
    return y.grad


@programs.add
def retained_gradient_accumulates(torch):
    y = leaf(torch, 2) * 2
    y.retain_grad()
    z = y.sum()
    z.backward(retain_graph=True)
    z.backward()
    return y.grad


@programs.add
def removed_hook(torch):
    x = leaf(torch, 2)
    handle = x.register_hook(lambda g: g * 10)
    other = x.register_hook(lambda g: g * 3)
    handle.remove()
    handle.remove()
    x.sum().backward()
    with other:
        pass
    x.sum().backward()
    return x.grad


@programs.add
def captured_intermediate_and_hooks(torch):
    x = leaf(torch, 2)
    y = x * 2
    y.register_hook(lambda g: g * 10)
    z = (y * 3).sum()
    return torch.autograd.grad(z, [y], retain_graph=True), torch.autograd.grad(z, [x, y])


@programs.add
def captured_leaf_and_hooks(torch):
    x = leaf(torch, 2)
    x.register_hook(lambda g: g * 10)
    return torch.autograd.grad((x * 3).sum(), [x])


@programs.add
def captured_and_node_hooks(torch):
    x = leaf(torch, 2)
    y = x * 2
    y.grad_fn.register_prehook(lambda grads: (grads[0] * 10,))
    z = (y * 3).sum()
    return torch.autograd.grad(z, [y], retain_graph=True), torch.autograd.grad(z, [x, y])


@programs.add
def node_hook_replaces_inputs(torch):
    x, w = leaf(torch, 2), leaf(torch, 2)
    y = x * w
    y.grad_fn.register_hook(lambda inputs, outputs: (inputs[0] * 2, inputs[1] * 3))
    y.sum().backward()
    return x.grad, w.grad


@programs.add
def grad_mode_in_hooks(torch):
    seen: list[Any] = []
    x = leaf(torch, 2)
    y = x * x
    y.register_hook(lambda g: seen.append(torch.is_grad_enabled()))
    z = y.sum()
    z.backward(retain_graph=True)
    torch.autograd.grad(z, x, create_graph=True)
    return seen, torch.is_grad_enabled()


@programs.add
def callback(torch):
    seen: list[Any] = []
    x = leaf(torch, 2)
    y = x * 2
    engine = torch.autograd.Variable._execution_engine
    y.register_hook(lambda g: engine.queue_callback(lambda: seen.append(x.grad.clone())))
    y.sum().backward()
    return seen


@programs.add
def callback_outside(torch):
    torch.autograd.Variable._execution_engine.queue_callback(lambda: None)


@programs.add
def backward_inside_a_hook(torch):
    x, w = leaf(torch, 2), leaf(torch, 2)

    def hook(grad):
        with torch.enable_grad():
            (w * 3).sum().backward()

    y = x * 2
    y.register_hook(hook)
    y.sum().backward()
    return w.grad, x.grad


@programs.add
def hook_raises(torch):
    x = leaf(torch, 2)
    y = x * 2

    def hook(grad):
        raise ValueError("stop")

    handle = y.register_hook(hook)
    z = y.sum()
    try:
        z.backward(retain_graph=True)
    except ValueError:
        handle.remove()
    z.backward()
    return x.grad, torch.is_grad_enabled()


@programs.add
def hook_returns_number(torch):
    y = leaf(torch, 2) * 2
    y.register_hook(lambda g: 3)
    y.sum().backward()


@programs.add
def hook_changes_shape(torch):
    y = leaf(torch, 2) * 2
    y.register_hook(lambda g: torch.ones(3))
    y.sum().backward()


@programs.add
def hook_changes_type(torch):
    y = leaf(torch, 2) * 2
    y.register_hook(lambda g: g.double())
    y.sum().backward()


@programs.add
def node_hook_returns_wrong_number(torch):
    y = leaf(torch, 2) * 2
    y.grad_fn.register_hook(lambda inputs, outputs: (torch.ones(2),))
    y.sum().backward()


@programs.add
def node_hook_returns_no_tuple(torch):
    y = leaf(torch, 2) * 2
    y.grad_fn.register_hook(lambda inputs, outputs: torch.ones(2))
    y.sum().backward()


@programs.add
def node_prehook_returns_wrong_number(torch):
    y = leaf(torch, 2) * 2
    y.grad_fn.register_prehook(lambda grads: (grads[0], grads[0]))
    y.sum().backward()


@programs.add
def hook_of_constant(torch):
    torch.ones(2).register_hook(print)


@programs.add
def retain_grad_of_constant(torch):
    torch.ones(2).retain_grad()


@programs.add
def post_accumulate_of_intermediate(torch):
    (leaf(torch, 2) * 2).register_post_accumulate_grad_hook(print)


@programs.add
def post_accumulate_of_constant(torch):
    torch.ones(2).register_post_accumulate_grad_hook(print)


@programs.add
def optimizer_inside_backward(torch):
    x, w = leaf(torch, 2), leaf(torch, 2)

    def step(p):
        with torch.no_grad():
            p.sub_(p.grad * 0.5)
        p.grad = None

    for p in (x, w):
        p.register_post_accumulate_grad_hook(step)
    (x * w).sum().backward()
    return x.detach(), w.detach(), x.grad


@programs.add
def multi_grad_hook(torch):
    seen: list[Any] = []
    a, b, c = leaf(torch, 2), leaf(torch, 2), leaf(torch, 2)
    d = a * b
    handle = torch.autograd.graph.register_multi_grad_hook((a, b, c, d), lambda grads: seen.append(list(grads)))
    (d * 3).sum().backward()
    handle.remove()
    (a * c).sum().backward()
    return seen


@programs.add
def multi_grad_hook_any(torch):
    seen: list[Any] = []
    a, b = leaf(torch, 2), leaf(torch, 2)
    torch.autograd.graph.register_multi_grad_hook((a, b), lambda grad: seen.append(grad), mode="any")
    (a * 3 + b * 3).sum().backward()
    return len(seen), seen[0]


@pytest.mark.parametrize("program", programs.all)
def test_same_as_pytorch(program: Any) -> None:
    check(program)
