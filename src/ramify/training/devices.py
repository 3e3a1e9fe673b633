"""One device, or the processes of an `accelerate launch`, each with its own.

Every process plans the same steps and takes every so-manieth pass of each; gradients are summed over all before the weights move.
A step's loss is a sum over its whole weight, which all know beforehand, so the number of devices changes no loss.
"""

from collections.abc import Iterable, Mapping

import torch

__all__ = ["Devices"]


class Devices:
    """Who this process is among how many."""

    def __init__(self) -> None:
        self.count, self.rank = 1, 0
        if torch.distributed.is_available() and (
            torch.distributed.is_initialized() or torch.distributed.is_torchelastic_launched()
        ):
            from accelerate import PartialState

            state = PartialState(cpu=not torch.cuda.is_available())
            self.count, self.rank, self._own = state.num_processes, state.process_index, state.device
        else:
            self._own = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def device(self, wanted: str | None) -> torch.device:
        """The one asked for; None: this process's own."""
        return self._own if wanted is None else torch.device(wanted)

    @property
    def first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Make every process's gradients the sum of all."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.requires_grad:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad)

    def add(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Every number summed over all processes; all must have the same names."""
        if self.count == 1:
            return dict(sums)
        names = sorted(sums)
        values = torch.tensor([sums[name] for name in names], dtype=torch.float64, device=self._own)
        torch.distributed.all_reduce(values)
        return dict(zip(names, values.tolist(), strict=True))

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            torch.distributed.barrier()
