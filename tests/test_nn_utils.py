"""nn.utils: clipping, vectors, normalised and parametrised weights, pruning, fusion; compared with PyTorch."""

from __future__ import annotations

import copy
import importlib

import pytest
from nn_reference import check

import flambeau
from flambeau import nn


def module_of(p, name):
    return importlib.import_module(f"{p.__name__}.nn.utils.{name}")


def ones(p, *shape):
    return p.ones(shape)


def with_grads(p, scale=7.0):
    m = p.nn.Linear(2, 3)
    (m(ones(p, 1, 2)).sum() * scale).backward()
    return m


def grads(m):
    return [q.grad for q in m.parameters()]


CLIP = {
    "norm": lambda p, u, m: (u.clip_grad_norm_(m.parameters(), 1.0), grads(m)),
    "norm inf": lambda p, u, m: (u.clip_grad_norm_(m.parameters(), 0.5, float("inf")), grads(m)),
    "norm 1": lambda p, u, m: (u.clip_grad_norm_(m.weight, 0.5, 1.0), grads(m)),
    "below": lambda p, u, m: (u.clip_grad_norm_(m.parameters(), 1e6), grads(m)),
    "nothing": lambda p, u, m: u.clip_grad_norm_([], 1.0),
    "no gradient": lambda p, u, m: u.clip_grad_norm_(p.nn.Linear(1, 1).parameters(), 1.0),
    "finite": lambda p, u, m: (
        m.weight.grad.fill_(float("nan")),
        u.clip_grad_norm_(m.weight, 1.0, error_if_nonfinite=True),
    ),
    "value": lambda p, u, m: (u.clip_grad_value_(m.parameters(), 0.1), grads(m)),
    "total": lambda p, u, m: (u.get_total_norm(grads(m), 3.0), u.get_total_norm([])),
    "with norm": lambda p, u, m: (u.clip_grads_with_norm_(m.parameters(), 1.0, p.tensor(4.0)), grads(m)),
    "vector": lambda p, u, m: u.parameters_to_vector(m.parameters()),
    "vector back": lambda p, u, m: (u.vector_to_parameters(p.arange(9.0), m.parameters()), m.state_dict()),
    "vector of number": lambda p, u, m: u.vector_to_parameters(3, m.parameters()),
    "skip init": lambda p, u, m: [q.shape for q in u.skip_init(p.nn.Linear, 2, 3).parameters()],
    "skip init without device": lambda p, u, m: u.skip_init(p.nn.ReLU),
}


@pytest.mark.parametrize("name", CLIP)
def test_gradients_and_vectors(name):
    check(lambda p: CLIP[name](p, p.nn.utils, with_grads(p)))


def test_empty_generator_warns():
    with pytest.warns(UserWarning, match="empty generator"):
        nn.utils.clip_grad_norm_((q for q in []), 1.0)


@pytest.mark.parametrize("dim", [0, 1, -1, None])
def test_weight_norm(dim):
    def old(p):
        m = p.nn.utils.weight_norm(p.nn.Conv2d(2, 3, 3), dim=dim)
        m(ones(p, 1, 2, 4, 4)).sum().backward()
        text = repr(m), list(m.state_dict()), type(m.weight)
        p.nn.utils.remove_weight_norm(m)
        return text, grads(m), m.state_dict(), m(ones(p, 1, 2, 4, 4))

    def new(p):
        m = p.nn.utils.parametrizations.weight_norm(p.nn.Conv2d(2, 3, 3), dim=dim)
        m(ones(p, 1, 2, 4, 4)).sum().backward()
        return repr(m), m.state_dict(), grads(m), m.weight, m.load_state_dict(old_state(p))

    def old_state(p):
        return p.nn.utils.weight_norm(p.nn.Conv2d(2, 3, 3), dim=dim).state_dict()

    check(old)
    check(new)


def test_weight_norm_errors():
    check(lambda p: p.nn.utils.weight_norm(p.nn.utils.weight_norm(p.nn.Linear(2, 3))))
    check(lambda p: p.nn.utils.remove_weight_norm(p.nn.Linear(2, 3)))


def test_spectral_norm():
    def old(p):
        m = p.nn.utils.spectral_norm(p.nn.Linear(3, 2), n_power_iterations=3)
        outputs = [m(ones(p, 1, 3)) for _ in range(3)]
        outputs[-1].sum().backward()
        m.eval()
        return outputs, m(ones(p, 1, 3)), grads(m), m.state_dict(), dict(m.state_dict()._metadata)

    def transposed(p):
        m = p.nn.utils.spectral_norm(p.nn.ConvTranspose2d(3, 2, 2))
        output = m(ones(p, 1, 3, 2, 2))
        p.nn.utils.remove_spectral_norm(m)
        return output, m.state_dict(), len(m._forward_pre_hooks), len(m._state_dict_hooks)

    def oldest_state(p):
        # Tall, so that the pseudo-inverse that finds v is not one of a singular matrix.
        state = p.nn.utils.spectral_norm(p.nn.Linear(2, 3)).state_dict()
        keys = {"weight_orig": state["weight_orig"], "weight": state["weight_orig"] / 1.5}
        m = p.nn.utils.spectral_norm(p.nn.Linear(2, 3))
        return m.load_state_dict({**keys, "weight_u": state["weight_u"], "bias": state["bias"]}), m.state_dict()

    def new(p):
        m = p.nn.utils.parametrizations.spectral_norm(p.nn.Conv2d(3, 2, 2))
        outputs = [m(ones(p, 1, 3, 2, 2)) for _ in range(3)]
        outputs[-1].sum().backward()
        return outputs, m.state_dict(), grads(m), repr(m)

    for program in (old, transposed, oldest_state, new):
        check(program)
    check(lambda p: p.nn.utils.spectral_norm(p.nn.Linear(2, 3), n_power_iterations=0))
    check(lambda p: p.nn.utils.spectral_norm(p.nn.utils.spectral_norm(p.nn.Linear(2, 3))))
    check(lambda p: p.nn.utils.remove_spectral_norm(p.nn.Linear(1, 1)))
    check(lambda p: p.nn.utils.parametrizations.spectral_norm(p.nn.Linear(2, 3), dim=5))


@pytest.mark.parametrize("trivialization", [True, False])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
@pytest.mark.parametrize("orthogonal_map", [None, "matrix_exp", "cayley", "householder"])
def test_orthogonal(orthogonal_map, shape, trivialization):
    def program(p):
        m = p.nn.utils.parametrizations.orthogonal(
            p.nn.Linear(*shape), orthogonal_map=orthogonal_map, use_trivialization=trivialization
        )
        w = m.weight
        (w * p.arange(float(w.numel())).reshape(w.shape)).sum().backward()
        return w, m.state_dict(), grads(m)

    check(program, tolerance=1e-4)


def test_orthogonal_errors():
    orthogonal = lambda p, *args, **kwargs: p.nn.utils.parametrizations.orthogonal(*args, **kwargs)  # noqa: E731
    check(lambda p: orthogonal(p, p.nn.Linear(2, 3), "what"))
    check(lambda p: orthogonal(p, p.nn.Linear(2, 3), "bias"))
    check(lambda p: orthogonal(p, p.nn.Linear(2, 3), orthogonal_map="x"))


def pieces(p):
    class Symmetric(p.nn.Module):
        def forward(self, x):
            return x.triu() + x.triu(1).transpose(-1, -2)

        def right_inverse(self, x):
            return x.triu()

    class Sum(p.nn.Module):
        def forward(self, a, b):
            return a + b

        def right_inverse(self, x):
            return x, x * 0

    class Double(p.nn.Module):
        def forward(self, x):
            return x.double()

    class Number(p.nn.Module):
        def forward(self, x):
            return 3

    class BadInverse(p.nn.Identity):
        def right_inverse(self, x):
            return 3

    class WideInverse(p.nn.Identity):
        def right_inverse(self, x):
            return x.double()

    return {cls.__name__: cls for cls in (Symmetric, Sum, Double, Number, BadInverse, WideInverse)}


@pytest.mark.parametrize(
    "names", ["Symmetric", "Sum", "Sum ReLU", "Double", "Number", "BadInverse", "WideInverse", "Linear"]
)
def test_parametrize(names):
    def program(p):
        P, made = p.nn.utils.parametrize, pieces(p)
        m = p.nn.Linear(3, 3)
        for name in names.split():
            if name == "Linear":
                P.register_parametrization(m, "weight", p.nn.Linear(3, 2))
            else:
                P.register_parametrization(m, "weight", made[name]() if name in made else getattr(p.nn, name)())
        state = (
            repr(m),
            m.state_dict(),
            m.weight,
            type(m),
            P.type_before_parametrizations(m),
            P.is_parametrized(m, "bias"),
        )
        twin = copy.deepcopy(m)
        P.remove_parametrizations(m, "weight")
        return state, m.state_dict(), type(m), twin.weight, P.is_parametrized(m), P.is_parametrized(twin)

    check(program)


def test_parametrized_tensors_can_be_set_and_cached():
    def program(p):
        P = p.nn.utils.parametrize
        m = P.register_parametrization(p.nn.Linear(3, 3), "weight", pieces(p)["Symmetric"]())
        m.weight = p.arange(9.0).reshape(3, 3)
        with P.cached():
            same = m.weight is m.weight
        to = P.transfer_parametrizations_and_params(m, p.nn.Linear(3, 3))
        return m.weight, m.state_dict(), same, m.weight is m.weight, to.state_dict()

    check(program)


def test_parametrize_errors():
    check(lambda p: p.nn.utils.parametrize.register_parametrization(p.nn.Linear(1, 1), "what", p.nn.ReLU()))
    check(lambda p: p.nn.utils.parametrize.remove_parametrizations(p.nn.Linear(1, 1), "weight"))

    def no_inverse(p):
        m = p.nn.utils.parametrize.register_parametrization(p.nn.Linear(1, 1), "bias", p.nn.ReLU())
        m.bias = p.ones(1)

    def two_originals(p):
        m = p.nn.utils.parametrize.register_parametrization(p.nn.Linear(1, 1), "weight", pieces(p)["Sum"]())
        p.nn.utils.parametrize.remove_parametrizations(m, "weight", leave_parametrized=False)

    check(no_inverse)
    check(two_originals)
    parametrized = nn.utils.parametrizations.weight_norm(nn.Linear(1, 1))
    with pytest.raises(RuntimeError, match="Serialization of parametrized modules"):
        parametrized.__getstate__()


def test_pruning_one_way_after_another():
    def program(p):
        prune = module_of(p, "prune")
        m = p.nn.Linear(6, 5)
        prune.random_unstructured(m, "weight", 0.3)
        prune.l1_unstructured(m, "weight", 3)
        prune.ln_structured(m, "weight", 1, 2, 0)
        prune.random_structured(m, "weight", 1, 1)
        prune.identity(m, "bias")
        state = m.state_dict()
        m(ones(p, 1, 6)).sum().backward()
        output = m(ones(p, 1, 6)), grads(m), prune.is_pruned(m)
        prune.remove(m, "weight")
        prune.remove(m, "bias")
        return state, output, m.state_dict(), prune.is_pruned(m)

    check(program)


def test_pruning_globally_and_by_mask():
    def program(p):
        prune = module_of(p, "prune")
        m = p.nn.Sequential(p.nn.Linear(6, 5), p.nn.Linear(5, 4))
        both = [(m[0], "weight"), (m[1], "weight")]
        prune.global_unstructured(both, prune.L1Unstructured, amount=0.4)
        prune.global_unstructured(both, prune.RandomUnstructured, amount=5)
        prune.custom_from_mask(m[1], "bias", p.tensor([1.0, 0.0, 1.0, 0.0]))
        return m.state_dict(), prune.L1Unstructured(0.5).prune(p.arange(4.0))

    check(program)


@pytest.mark.parametrize(
    "text",
    [
        "remove(m, 'weight')",
        "l1_unstructured(m, 'weight', 1.5)",
        "l1_unstructured(m, 'weight', -1)",
        "l1_unstructured(m, 'weight', 100)",
        "l1_unstructured(m, 'weight', 'a')",
        "l1_unstructured(m, 'weight', 2, importance_scores=p.ones(2))",
        "random_structured(m, 'bias', 1, 0)",
        "random_structured(m, 'weight', 1, 5)",
        "random_structured(m, 'weight', 9, 0)",
        "global_unstructured([(m, 'weight')], prune.RandomStructured, amount=1)",
        "global_unstructured(3, prune.L1Unstructured, amount=1)",
        "custom_from_mask(m, 'weight', p.ones(1))",
        "is_pruned(m)",
    ],
)
def test_pruning_errors(text):
    def program(p):
        prune, m = module_of(p, "prune"), p.nn.Linear(4, 3)
        return eval(f"prune.{text}", {"prune": prune, "m": m, "p": p})

    check(lambda p: str(program(p)).replace("flambeau", "torch"))


def test_fusion():
    def convolution(p):
        conv, bn = p.nn.Conv2d(2, 3, 3).eval(), p.nn.BatchNorm2d(3).eval()
        bn.running_mean.uniform_()
        bn.running_var.uniform_(1, 2)
        return module_of(p, "fusion").fuse_conv_bn_eval(conv, bn)(p.rand(1, 2, 5, 5))

    def linear(p):
        layer, bn = p.nn.Linear(2, 3, bias=False).eval(), p.nn.BatchNorm1d(3).eval()
        bn.running_var.uniform_(1, 2)
        return module_of(p, "fusion").fuse_linear_bn_eval(layer, bn)(p.rand(4, 2))

    check(convolution)
    check(linear)
    with pytest.raises(AssertionError, match="eval"):
        nn.utils.fuse_conv_bn_eval(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1).eval())


def test_functional_call():
    def program(p):
        m = p.nn.Sequential(p.nn.Linear(2, 2), p.nn.Linear(2, 2), p.nn.BatchNorm1d(2))
        m[1].weight = m[0].weight
        call = module_of(p, "stateless")._functional_call
        x = ones(p, 3, 2)
        w = p.zeros(2, 2, requires_grad=True)
        first = call(m, {"0.weight": w}, (x,))
        first.sum().backward()
        count = p.tensor(5)
        call(m, {"2.num_batches_tracked": count}, x)
        return first, w.grad, call(m, {"0.weight": w}, x, tie_weights=False), m(x), count, m.state_dict()

    check(program)


@pytest.mark.parametrize(
    "text",
    [
        "_functional_call(p.nn.Linear(1, 1), {'q': p.ones(1)}, p.ones(1), strict=True)",
        "_functional_call(tied(p), {'0.weight': p.ones(1, 1), '1.weight': p.ones(1, 1)}, p.ones(1))",
    ],
)
def test_functional_call_errors(text):
    def tied(p):
        m = p.nn.Sequential(p.nn.Linear(1, 1), p.nn.Linear(1, 1))
        m[1].weight = m[0].weight
        return m

    check(lambda p: eval(f"stateless.{text}", {"stateless": module_of(p, "stateless"), "p": p, "tied": tied}))


def test_functional_call_restores_after_errors():
    m = nn.Linear(2, 2)
    w = m.weight
    with pytest.raises(RuntimeError):
        nn.utils.stateless._functional_call(m, {"weight": flambeau.ones(3, 3)}, flambeau.ones(1, 2))
    assert m.weight is w


def test_names_of_a_wrapped_state_are_stripped():
    def program(p):
        state = p.nn.Sequential(p.nn.Linear(1, 1)).state_dict(prefix="module.")
        p.nn.modules.utils.consume_prefix_in_state_dict_if_present(state, "module.")
        return state, dict(state._metadata)

    check(program)


def test_memory_format_of_weights():
    def program(p):
        m = p.nn.Sequential(p.nn.Conv2d(2, 3, 3), p.nn.Linear(1, 1))
        p.nn.utils.convert_conv2d_weight_memory_format(m, p.channels_last)
        return list(m[0].weight.stride()), m[0].weight

    check(program)
