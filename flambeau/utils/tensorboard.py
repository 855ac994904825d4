"""``SummaryWriter``: logs for TensorBoard, written by the package tensorboardX, which must be installed."""

from __future__ import annotations

try:
    from tensorboardX import FileWriter, RecordWriter, SummaryWriter
except ImportError as error:
    raise ImportError(
        "torch.utils.tensorboard writes its logs through tensorboardX: pip install tensorboardX"
    ) from error

__all__ = ["FileWriter", "RecordWriter", "SummaryWriter"]
