"""TensorBoard event files, written without TensorBoard."""

from kkori.utils.tensorboard.writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
