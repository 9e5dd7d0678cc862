"""What is wanted of a network: loss, metric, agreement of two networks' answers, what a student learns from a teacher.

``task`` is the contract; one file per task; ``named`` finds them by name. Nothing outside this folder knows classes,
boxes or masks.
"""

from compressor.task.metric import Metric, Quality, drop
from compressor.task.named import TASKS, TaskSpec, make_task, usual_task
from compressor.task.task import Guess, Meter, Task

__all__ = ["TASKS", "Guess", "Meter", "Metric", "Quality", "Task", "TaskSpec", "drop", "make_task", "usual_task"]
