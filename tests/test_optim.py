"""Optimizers against PyTorch's, with gradients that NumPy computes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau import optim
from flambeau.nn import Parameter
from flambeau.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

torch = pytest.importorskip("torch")

COMMON: list[dict[str, Any]] = [{}, {"lr": 0.02}, {"weight_decay": 0.1}, {"maximize": True, "weight_decay": 0.2}]
BETAS = {"betas": (0.4, 0.7)}
CONFIGURATIONS: dict[str, list[dict[str, Any]]] = {
    "SGD": [
        *COMMON,
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "maximize": True},
    ],
    "Adam": [*COMMON, BETAS, {"amsgrad": True}, {"amsgrad": True, "weight_decay": 0.1, "decoupled_weight_decay": True}],
    "AdamW": [*COMMON, BETAS, {"amsgrad": True, "weight_decay": 0.3}],
    "Adagrad": [*COMMON, {"lr_decay": 0.1, "initial_accumulator_value": 0.3}],
    "RMSprop": [
        *COMMON,
        {"centered": True},
        {"momentum": 0.5},
        {"momentum": 0.5, "centered": True, "weight_decay": 0.1, "alpha": 0.6},
    ],
    "Adadelta": [*COMMON, {"rho": 0.5, "eps": 1e-3}],
    "Adamax": [*COMMON, BETAS],
    "NAdam": [*COMMON, BETAS, {"weight_decay": 0.2, "decoupled_weight_decay": True, "momentum_decay": 0.1}],
    "RAdam": [*COMMON, BETAS, {"weight_decay": 0.2, "decoupled_weight_decay": True}, {"betas": (0.9, 0.99)}],
    "ASGD": [*COMMON, {"t0": 3, "lambd": 0.1, "alpha": 0.5}],
    "Rprop": [{}, {"lr": 0.02}, {"etas": (0.3, 1.5), "step_sizes": (1e-2, 0.1)}, {"maximize": True}],
    "Adafactor": [*COMMON, {"eps": (1e-4, 1e-2), "d": 2.0, "beta2_decay": -0.5}],
}
CASES = [(name, options) for name, many in CONFIGURATIONS.items() for options in many]
STEPS = 8


class Problem:
    """A smooth function of some arrays, its gradient, and one copy of the arrays in each package."""

    def __init__(self, dtype: str = "float32", shapes: Any = ((5, 3), (7,), (), (2, 3, 2), (0, 2))) -> None:
        rng = np.random.default_rng(3)
        self.dtype = dtype

        def draw(shape: Any) -> np.ndarray:
            values = rng.standard_normal(shape)
            return np.asarray(values + 1j * rng.standard_normal(shape) if "complex" in dtype else values).astype(dtype)

        self.start = [draw(shape) for shape in shapes]
        self.targets = [draw(shape) for shape in shapes]

    def gradient(self, i: int, value: np.ndarray) -> np.ndarray:
        return np.asarray(1.3 * (value - self.targets[i]) - np.sin(value.real)).astype(self.dtype)

    def ours(self) -> list[Any]:
        return [Parameter(fl.tensor(x)) for x in self.start]

    def theirs(self) -> list[Any]:
        return [torch.nn.Parameter(torch.tensor(x)) for x in self.start]

    def set_gradients(self, package: Any, params: list[Any]) -> None:
        for i, param in enumerate(params):
            param.grad = package.tensor(self.gradient(i, param.detach().numpy()))


def tolerance(dtype: str) -> dict[str, float]:
    return {"rtol": 1e-10, "atol": 1e-12} if dtype in ("float64", "complex128") else {"rtol": 2e-5, "atol": 2e-6}


def flat(state: Any, path: str = "") -> dict[str, Any]:
    """Path to leaf of a nested state."""
    if isinstance(state, dict):
        return {p: leaf for key, value in state.items() for p, leaf in flat(value, f"{path}.{key}").items()}
    if isinstance(state, (list, tuple)):
        return {p: leaf for i, value in enumerate(state) for p, leaf in flat(value, f"{path}[{i}]").items()}
    return {path: state}


def assert_states_agree(ours: Any, theirs: Any, dtype: str) -> None:
    mine, reference = flat(ours), flat(theirs)
    assert set(mine) == set(reference)
    for path, expected in reference.items():
        if isinstance(expected, torch.Tensor):
            assert str(mine[path].dtype) == str(expected.dtype), path
            assert tuple(mine[path].shape) == tuple(expected.shape), path
            np.testing.assert_allclose(mine[path].numpy(), expected.numpy(), **tolerance(dtype), err_msg=path)
        elif isinstance(expected, float):
            assert mine[path] == pytest.approx(expected), path
        else:
            assert mine[path] == expected and type(mine[path]) is type(expected), path


def run(problem: Problem, package: Any, optimizer: Any, params: list[Any], steps: int = STEPS) -> None:
    for _ in range(steps):
        problem.set_gradients(package, params)
        optimizer.step()


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64"])
@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda x: x if isinstance(x, str) else repr(x))
def test_steps_and_state_agree_with_pytorch(name: str, options: dict[str, Any], dtype: str) -> None:
    if name == "Adafactor" and dtype == "complex64":
        pytest.skip("Adafactor refuses complex parameters")
    shapes = ((5, 3), (7,)) if name == "Adafactor" else Problem.__init__.__defaults__[1]
    problem = Problem(dtype, shapes)
    ours, theirs = problem.ours(), problem.theirs()
    mine, reference = getattr(optim, name)(ours, **options), getattr(torch.optim, name)(theirs, **options)
    run(problem, fl, mine, ours)
    run(problem, torch, reference, theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), **tolerance(dtype))
    assert_states_agree(mine.state_dict(), reference.state_dict(), dtype)


@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name != "Adafactor"])
def test_half_precision_follows_single(name: str) -> None:
    """bfloat16 parameters go where float32 ones do, to their own precision."""
    problem = Problem(shapes=((5, 3), (7,)))
    wide = problem.ours()
    narrow = [Parameter(fl.tensor(x).to(fl.bfloat16)) for x in problem.start]
    for params in (wide, narrow):
        optimizer = getattr(optim, name)(params, lr=0.02)
        for _ in range(3):
            for i, param in enumerate(params):
                param.grad = fl.tensor(problem.targets[i]).to(param.dtype)
            optimizer.step()
    for a, b in zip(wide, narrow):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().float().numpy(), rtol=0.03, atol=0.02)


@pytest.mark.parametrize("name", [*CONFIGURATIONS, "Muon"])
def test_non_contiguous_parameters(name: str) -> None:
    """Layout does not change the result: transposed parameters, gradients with other strides."""
    rng = np.random.default_rng(0)
    values, slopes = rng.standard_normal((2, 4, 6)).astype("float32")
    plain = Parameter(fl.tensor(values))
    crossed = Parameter(fl.tensor(np.ascontiguousarray(values.T)).t())
    mixed = Parameter(fl.tensor(np.ascontiguousarray(values.T)).t())
    for param in (plain, crossed, mixed):
        optimizer = getattr(optim, name)([param])
        for _ in range(3):
            grad = fl.tensor(slopes) if param is not crossed else fl.tensor(np.ascontiguousarray(slopes.T)).t()
            param.grad = grad
            optimizer.step()
    for other in (crossed, mixed):
        assert other.stride() == (1, 4)
        np.testing.assert_allclose(
            other.detach().numpy(), plain.detach().numpy(), rtol=1e-5 if name != "Muon" else 2e-2, atol=1e-6
        )


def test_muon_agrees_with_pytorch() -> None:
    problem = Problem(shapes=((5, 3), (3, 6), (4, 4)))
    for options in ({}, {"nesterov": False}, {"adjust_lr_fn": "match_rms_adamw"}, {"ns_steps": 3, "momentum": 0.5}):
        ours, theirs = problem.ours(), problem.theirs()
        run(problem, fl, optim.Muon(ours, lr=0.05, **options), ours, 3)
        run(problem, torch, torch.optim.Muon(theirs, lr=0.05, **options), theirs, 3)
        for a, b in zip(ours, theirs):
            np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=0.02, atol=3e-3)


@pytest.mark.parametrize("options", [{}, {"line_search_fn": "strong_wolfe"}, {"lr": 0.5, "history_size": 3}])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_lbfgs_agrees_with_pytorch(options: dict[str, Any], dtype: str) -> None:
    problem = Problem(dtype, shapes=((5, 3), (7,)))
    final = []
    for package, params, module in ((fl, problem.ours(), optim), (torch, problem.theirs(), torch.optim)):
        optimizer = module.LBFGS(params, max_iter=7, **options)

        def closure(package: Any = package, params: list[Any] = params) -> Any:
            problem.set_gradients(package, params)
            losses = [
                (0.65 * np.abs(p.detach().numpy() - t) ** 2 + np.cos(p.detach().numpy().real)).sum()
                for p, t in zip(params, problem.targets)
            ]
            return package.tensor(sum(losses))

        for _ in range(3):
            optimizer.step(closure)
        final.append([p.detach().numpy() for p in params])
        state = optimizer.state_dict()["state"][0]
        final[-1].append(np.array([state["n_iter"], state["func_evals"], float(state["t"])]))
    for a, b in zip(*final):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)


def test_lbfgs_finds_the_minimum_of_rosenbrock() -> None:
    point = Parameter(fl.tensor([-1.2, 1.0], dtype=fl.float64))
    optimizer = optim.LBFGS([point], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Any:
        x, y = point.detach().numpy()
        point.grad = fl.tensor([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)], dtype=fl.float64)
        return fl.tensor((1 - x) ** 2 + 100 * (y - x * x) ** 2)

    for _ in range(3):
        optimizer.step(closure)
    np.testing.assert_allclose(point.detach().numpy(), [1, 1], atol=1e-4)


# -- options ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("flags", [{"foreach": True}, {"foreach": False}, {"fused": True}, {"differentiable": True}])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "Adagrad"])
def test_flags_do_not_change_the_result(name: str, flags: dict[str, Any]) -> None:
    problem = Problem()
    results = []
    for chosen in ({}, flags):
        params = [p.detach().clone() for p in problem.ours()] if "differentiable" in flags else problem.ours()
        run(problem, fl, getattr(optim, name)(params, lr=0.05, **chosen), params)
        results.append([p.detach().numpy() for p in params])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "NAdam", "RAdam", "Adamax"])
def test_tensor_learning_rate(name: str) -> None:
    problem = Problem()
    results = []
    for lr in (0.03, fl.tensor(0.03), fl.tensor([0.03])):
        params = problem.ours()
        optimizer = getattr(optim, name)(params, lr=lr)
        run(problem, fl, optimizer, params)
        results.append([p.detach().numpy() for p in params])
        assert optimizer.param_groups[0]["lr"] is lr
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_groups_have_their_own_options() -> None:
    problem = Problem(shapes=((3,), (4,), (5,)))
    ours, theirs = problem.ours(), problem.theirs()
    for package, params, module in ((fl, ours, optim), (torch, theirs, torch.optim)):
        groups = [{"params": params[:1], "lr": 0.3, "weight_decay": 0.1}, {"params": params[1]}]
        optimizer = module.Adam(groups, lr=0.01)
        optimizer.add_param_group({"params": params[2:], "betas": (0.5, 0.6)})
        run(problem, package, optimizer, params)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)


def test_parameters_without_gradients_rest() -> None:
    moving, resting = Parameter(fl.ones(2)), Parameter(fl.ones(2))
    optimizer = optim.Adam([moving, resting], lr=0.1)
    moving.grad = fl.ones(2)
    optimizer.step()
    assert resting.tolist() == [1, 1] and moving.tolist() != [1, 1]
    assert set(optimizer.state) == {moving}


def test_closure_runs_with_gradients_and_its_loss_is_returned() -> None:
    param = Parameter(fl.ones(2))
    optimizer = optim.SGD([param], lr=0.5)

    def closure() -> float:
        assert fl.is_grad_enabled()
        param.grad = fl.ones(2)
        return 3.5

    with fl.no_grad():
        assert optimizer.step(closure) == 3.5
    assert param.tolist() == [0.5, 0.5]


def test_differentiable_step_lets_gradients_through() -> None:
    """d(p - lr g)/d lr = -g for SGD."""
    lr = fl.tensor(0.1, requires_grad=True)
    param = fl.ones(3).clone()
    optimizer = optim.SGD([param], lr=lr, differentiable=True)
    param.grad = fl.tensor([1.0, 2.0, 3.0])
    optimizer.step()
    param.sum().backward()
    assert lr.grad.item() == pytest.approx(-6.0)


def test_mixed_precision_hooks_of_fused_optimizers() -> None:
    param = Parameter(fl.ones(2))
    optimizer = optim.AdamW([param], lr=0.1, fused=True)
    assert optimizer._step_supports_amp_scaling
    param.grad = fl.full((2,), 8.0)
    optimizer.grad_scale, optimizer.found_inf = fl.tensor(8.0), fl.tensor(1.0)
    optimizer.step()
    assert param.tolist() == [1, 1] and optimizer.state[param]["step"].item() == 0
    optimizer.found_inf = fl.tensor(0.0)
    optimizer.step()
    assert param.grad.tolist() == [1, 1] and param.tolist() != [1, 1]


# -- the base class --------------------------------------------------------------------------------
def test_repr_agrees_with_pytorch() -> None:
    for name in CONFIGURATIONS:
        mine = getattr(optim, name)([Parameter(fl.ones(2, 2))])
        assert repr(mine) == repr(getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(2, 2))]))


def test_zero_grad() -> None:
    param = Parameter(fl.ones(2))
    optimizer = optim.SGD([param])
    param.grad = fl.ones(2)
    optimizer.zero_grad(set_to_none=False)
    assert param.grad.tolist() == [0, 0]
    optimizer.zero_grad()
    assert param.grad is None


def test_named_parameters() -> None:
    named = [("a", Parameter(fl.ones(1))), ("b", Parameter(fl.ones(1)))]
    optimizer = optim.SGD(named, lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["a", "b"]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["a", "b"]
    with pytest.raises(ValueError, match="names"):
        optimizer.add_param_group({"params": [Parameter(fl.ones(1))]})
    with pytest.raises(ValueError, match="Some param names are missing"):
        optim.SGD([named[0], Parameter(fl.ones(1))])


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: optim.SGD([]), ValueError, "empty parameter list"),
        (lambda: optim.SGD(fl.ones(2)), TypeError, "iterable of Tensors"),
        (lambda: optim.SGD([3]), TypeError, "can only optimize Tensors"),
        (lambda: optim.SGD([{"params": {fl.ones(2)}}]), TypeError, "ordered collections"),
        (lambda: optim.SGD([Parameter(fl.ones(2)) * 2]), ValueError, "non-leaf"),
        (lambda: optim.SGD([Parameter(fl.ones(2))], lr=-1), ValueError, "Invalid learning rate: -1"),
        (lambda: optim.SGD([Parameter(fl.ones(2))], momentum=-1), ValueError, "momentum"),
        (lambda: optim.SGD([Parameter(fl.ones(2))], nesterov=True), ValueError, "Nesterov momentum"),
        (lambda: optim.Adam([Parameter(fl.ones(2))], betas=(1.0, 0.9)), ValueError, "index 0: 1.0"),
        (lambda: optim.Adam([Parameter(fl.ones(2))], eps=-1), ValueError, "epsilon"),
        (lambda: optim.Adam([Parameter(fl.ones(2))], lr=fl.ones(2)), ValueError, "1-element"),
        (lambda: optim.Adam([Parameter(fl.ones(2))], lr=fl.tensor(0.1), foreach=True), ValueError, "lr as a Tensor"),
        (lambda: optim.Adam([Parameter(fl.ones(2))], fused=True, foreach=True), RuntimeError, "together"),
        (lambda: optim.Adam([Parameter(fl.ones(2))], betas=(fl.tensor(0.9), 0.9)), ValueError, "both Tensors"),
        (lambda: optim.RMSprop([Parameter(fl.ones(2))], alpha=-1), ValueError, "alpha"),
        (lambda: optim.Adadelta([Parameter(fl.ones(2))], rho=2), ValueError, "rho"),
        (lambda: optim.Rprop([Parameter(fl.ones(2))], etas=(2, 3)), ValueError, "eta values"),
        (lambda: optim.Adafactor([Parameter(fl.ones(2))], d=0.1), ValueError, "Clipping threshold"),
        (lambda: optim.Muon([Parameter(fl.ones(2))]), ValueError, "2D"),
        (lambda: optim.LBFGS([{"params": [Parameter(fl.ones(2))]}] * 2), ValueError, "more than one parameter group"),
    ],
)
def test_errors(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()


def test_a_parameter_in_two_groups_is_refused_and_duplicates_are_warned_of() -> None:
    param = Parameter(fl.ones(2))
    optimizer = optim.SGD([param])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [param]})
    with pytest.warns(UserWarning, match="duplicate"):
        optim.SGD([param, param])


def test_capturable_needs_a_device_that_captures() -> None:
    param = Parameter(fl.ones(2))
    optimizer = optim.Adam([param], capturable=True)
    param.grad = fl.ones(2)
    with pytest.raises(AssertionError, match="capturable"):
        optimizer.step()


# -- hooks -----------------------------------------------------------------------------------------
def test_step_hooks_in_order() -> None:
    param = Parameter(fl.ones(1))
    optimizer = optim.SGD([param])
    calls: list[str] = []
    handles = [
        optimizer.register_step_pre_hook(lambda *_: calls.append("pre")),
        optimizer.register_step_post_hook(lambda *_: calls.append("post")),
        register_optimizer_step_pre_hook(lambda *_: calls.append("global pre")),
        register_optimizer_step_post_hook(lambda *_: calls.append("global post")),
    ]
    try:
        optimizer.step()
    finally:
        for handle in handles:
            handle.remove()
    assert calls == ["global pre", "pre", "post", "global post"]
    optimizer.step()
    assert len(calls) == 4


def test_pre_hook_replaces_arguments() -> None:
    optimizer = optim.SGD([Parameter(fl.ones(1))])
    optimizer.register_step_pre_hook(lambda self, args, kwargs: ((self, lambda: 7), {}))
    assert optimizer.step() == 7
    optimizer.register_step_pre_hook(lambda *_: 3)
    with pytest.raises(RuntimeError, match="pre-hook"):
        optimizer.step()


def test_state_dict_hooks() -> None:
    optimizer = optim.SGD([Parameter(fl.ones(1))], lr=0.5)
    calls: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda opt: calls.append("save"))
    optimizer.register_state_dict_post_hook(lambda opt, state: {**state, "extra": 1})
    optimizer.register_load_state_dict_pre_hook(lambda opt, state: {k: v for k, v in state.items() if k != "extra"})
    optimizer.register_load_state_dict_post_hook(lambda opt: calls.append("loaded"))
    state = optimizer.state_dict()
    assert state["extra"] == 1
    optimizer.load_state_dict(state)
    assert calls == ["save", "loaded"]


# -- saving and loading ----------------------------------------------------------------------------
@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_a_loaded_state_continues_the_same(name: str) -> None:
    problem = Problem(shapes=((5, 3), (7,)))
    straight, broken = problem.ours(), problem.ours()
    first, second = getattr(optim, name)(straight), getattr(optim, name)(broken)
    run(problem, fl, first, straight, 6)
    run(problem, fl, second, broken, 3)
    resumed = getattr(optim, name)(broken)
    resumed.load_state_dict(copy.deepcopy(second.state_dict()))
    run(problem, fl, resumed, broken, 3)
    for a, b in zip(straight, broken):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_loading_checks_groups() -> None:
    one = optim.SGD([Parameter(fl.ones(1))])
    two = optim.SGD([{"params": [Parameter(fl.ones(1))]}, {"params": [Parameter(fl.ones(1))]}])
    with pytest.raises(ValueError, match="different number of parameter groups"):
        one.load_state_dict(two.state_dict())
    longer = optim.SGD([Parameter(fl.ones(1)), Parameter(fl.ones(1))])
    with pytest.raises(ValueError, match="doesn't match the size"):
        one.load_state_dict(longer.state_dict())


def test_loading_casts_state_to_the_parameter_but_not_step() -> None:
    wide, narrow = Parameter(fl.ones(2, dtype=fl.float64)), Parameter(fl.ones(2))
    source, target = optim.Adam([wide]), optim.Adam([narrow])
    wide.grad = fl.ones(2, dtype=fl.float64)
    source.step()
    target.load_state_dict(source.state_dict())
    assert target.state[narrow]["exp_avg"].dtype == fl.float32
    assert target.state[narrow]["step"].dtype == source.state[wide]["step"].dtype


def test_pickling_and_copying() -> None:
    param = Parameter(fl.ones(2))
    optimizer = optim.Adam([param], lr=0.1)
    param.grad = fl.ones(2)
    optimizer.step()
    for other in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        theirs = other.param_groups[0]["params"][0]
        assert other.state[theirs]["step"].item() == 1
        theirs.grad = fl.ones(2)
        other.step()
        assert other.state[theirs]["step"].item() == 2


# -- deferral --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["SGD", "AdamW", "NAdam", "Muon"])
def test_training_a_deferred_model_is_training_it(name: str) -> None:
    """The step takes gradients that are still to be computed."""
    rng = np.random.default_rng(0)
    x, y = (fl.tensor(rng.standard_normal((8, n)).astype("float32")) for n in (5, 3))
    weights = rng.standard_normal((5, 3)).astype("float32")
    results = []
    for deferred in (False, True):
        weight = Parameter(fl.tensor(weights))
        optimizer = getattr(optim, name)([weight], lr=0.05)

        def model(batch: Any, weight: Any = weight) -> Any:
            return (batch @ weight).tanh()

        apply = fl.compile(model) if deferred else model
        for _ in range(4):
            optimizer.zero_grad()
            (apply(x) - y).pow(2).mean().backward()
            optimizer.step()
        results.append(weight.detach().numpy().copy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)
