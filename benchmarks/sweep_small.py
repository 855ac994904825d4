"""What `sweep.py --small` times: calls on a few elements, whose cost is the framework's own."""

from __future__ import annotations

from sweep_group import Group, each

__all__ = ["GROUPS"]

_X = "x, y = torch.randn(4), torch.randn(4); m = x > 0; i = torch.tensor([0, 2]); b = torch.randn(100, 10)"

GROUPS = [
    Group(
        _X,
        "x",
        ("x + y", "x * 2", "x.sum()", "x.exp()", "x.mean()", "x.relu()", "x.clamp(0, 1)", "x.softmax(0)", "x.pow(2)"),
    ),
    Group(
        _X,
        "",
        each("torch.{}(4)", "zeros ones empty rand randn arange randperm")
        + ("torch.full((4,), 1.0)", "torch.tensor([1.0, 2.0, 3.0])", "torch.tensor(3)", "torch.zeros_like(x)")
        + (
            "x.view(2, 2)",
            "x.reshape(2, 2)",
            "b.t()",
            "b.transpose(0, 1)",
            "x.unsqueeze(0)",
            "b.unsqueeze(0).squeeze(0)",
        )
        + (
            "b[3]",
            "b[3, 4]",
            "b[2:5]",
            "b[:, 1]",
            "b[..., None]",
            "b[2:5, 1:3]",
            "x[i]",
            "x[m]",
            "b.view(10, 10, 10)[1:3]",
        )
        + (
            "b.expand(3, 100, 10)",
            "b.permute(1, 0)",
            "b.flatten()",
            "b.chunk(2)",
            "b.split(50)",
            "x.detach()",
            "x.data",
        )
        + (
            "x[0].item()",
            "x.tolist()",
            "x.numpy()",
            "x.clone()",
            "x.to(torch.float64)",
            "x.float()",
            "x.cpu()",
            "x.shape",
        )
        + (
            "torch.cat([x, y])",
            "torch.stack([x, y])",
            "torch.where(m, x, y)",
            "torch.equal(x, y)",
            "bool((x > 5).any())",
        )
        + ("torch.einsum('i,i->', x, y)", "x.dot(y)", "x @ y", "b.mm(b.t())", "x.gather(0, i)", "x.index_select(0, i)")
        + ("x.scatter_(0, i, 1.0)", "x.masked_fill(m, 0.0)", "F.one_hot(i, 4)", "x.max()", "b.max(1)", "x.argmax()")
        + (
            "x.add_(y)",
            "x.zero_()",
            "x.fill_(1.0)",
            "x.copy_(y)",
            "x.mul_(0.5)",
            "x.sort()",
            "b.topk(2)",
            "x.cumsum(0)",
        )
        + (
            "x > 0",
            "x == y",
            "-x",
            "x.abs()",
            "x.sqrt()",
            "x.norm()",
            "x.std()",
            "F.relu(x)",
            "F.gelu(x)",
            "F.dropout(x)",
        )
        + ("F.linear(x, b[:4, :4])", "F.layer_norm(x, (4,))", "F.mse_loss(x, y)", "torch.isnan(x).any()", "x.unique()"),
    ),
]
