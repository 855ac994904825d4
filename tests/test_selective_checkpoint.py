"""Selective checkpointing, saved tensors that may be written to, and rules of custom operators for batches."""

from __future__ import annotations

import functools

import pytest

import flambeau
from flambeau import library
from flambeau.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts


def test_gradients_are_those_of_the_plain_pass():
    model = flambeau.nn.Sequential(
        flambeau.nn.Linear(8, 16), flambeau.nn.GELU(), flambeau.nn.Linear(16, 16), flambeau.nn.Tanh()
    )
    x = flambeau.randn(5, 8, requires_grad=True)

    def run(x):
        return model(x).sin().sum()

    wanted = flambeau.autograd.grad(run(x), [x, *model.parameters()])
    asked = []

    def policy(ctx, op, *args, **kwargs):
        asked.append((ctx.is_recompute, str(op)))
        saved = op == flambeau.ops.aten.addmm.default
        return CheckpointPolicy.MUST_SAVE if saved else CheckpointPolicy.PREFER_RECOMPUTE

    aten = flambeau.ops.aten
    for choice in ([aten.addmm.default], [aten.gelu.default, aten.tanh.default], [], policy):
        contexts = functools.partial(create_selective_checkpoint_contexts, choice)
        model.zero_grad()
        x.grad = None
        checkpoint(run, x, use_reentrant=False, context_fn=contexts).backward()
        for found, expected in zip([x.grad, *(p.grad for p in model.parameters())], wanted):
            assert flambeau.equal(found, expected)
    assert (False, str(aten.addmm.default)) in asked and (True, str(aten.addmm.default)) in asked
    with pytest.raises(TypeError):
        create_selective_checkpoint_contexts(3)
    with pytest.raises(ValueError):
        create_selective_checkpoint_contexts(["mm"])


def test_kept_results_are_not_computed_again():
    x = flambeau.randn(3, requires_grad=True)
    seen = []

    def policy(ctx, op, *args, **kwargs):
        if not ctx.is_recompute:
            if "exp" in str(op):
                ctx.op_output.detach().fill_(1.0)  # what is kept comes back in the second pass
            seen.append(str(op))
        return CheckpointPolicy.MUST_SAVE

    contexts = functools.partial(create_selective_checkpoint_contexts, policy)
    checkpoint(lambda x: x.exp().sum(), x, use_reentrant=False, context_fn=contexts).backward()
    assert flambeau.equal(x.grad, flambeau.ones(3)) and len(seen) == 2


def test_writes_to_saved_tensors():
    with flambeau.autograd.graph.allow_mutation_on_saved_tensors():
        a = flambeau.ones(2, 3, requires_grad=True)
        b = a.clone()
        out = (b**2).sum()
        b.sin_()
        out.backward()
    assert flambeau.equal(a.grad, flambeau.full((2, 3), 2.0))


def test_custom_operators_over_a_batch():
    @library.custom_op("batched::product", mutates_args=())
    def product(x: flambeau.Tensor, y: flambeau.Tensor) -> flambeau.Tensor:
        return x * y

    sizes = []

    @library.register_vmap("batched::product")
    def _(info, in_dims, x, y):
        sizes.append((info.batch_size, in_dims))
        return x.movedim(in_dims[0], 0) * y, 0

    library.register_autograd(
        "batched::product", lambda ctx, g: (g * ctx.saved_tensors[1], g * ctx.saved_tensors[0]),
        setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    )  # fmt: skip
    x, y = flambeau.randn(3, 4), flambeau.randn(3)
    found = flambeau.vmap(product, (1, None))(x, y)
    assert flambeau.equal(found, x.T * y) and sizes == [(4, (1, None))]
    grads = flambeau.vmap(flambeau.func.grad(lambda a, b: product(a, b).sum()), (1, None))(x, y)
    assert flambeau.equal(grads, y.expand(4, 3))
    kernel = library.get_kernel("batched::product", "CompositeExplicitAutograd")
    assert flambeau.equal(kernel(None, y, y), y * y)
