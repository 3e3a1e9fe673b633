"""Cross-entropy on the learned tokens only.

The vocabulary projection is the largest matrix product of a small model. Hidden states of tokens that are only read are
left out before it, so prompt tokens cost no logits, and the projection runs in chunks, so memory stays bounded.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from ramify.training.examples import IGNORED

__all__ = ["loss_sum", "masked_loss", "select_learned"]


def select_learned(hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The hidden states that predict a learned token, and those tokens.

    hidden: (B, T, D); labels: (B, T), -100 where only read. Returns (N, D) and (N,): hidden state t with label t + 1.
    """
    targets = labels[:, 1:].reshape(-1)
    keep = (targets != IGNORED).nonzero().squeeze(1)
    return hidden[:, :-1].reshape(-1, hidden.shape[-1]).index_select(0, keep), targets.index_select(0, keep)


def loss_sum(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum of -log p(target) in nats. hidden (N, D), weight (V, D) of the output projection, targets (N,). Measured in float32."""
    return cross_entropy(linear(hidden, weight).float(), targets, reduction="sum")


def masked_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    chunk: int = 16384,
    of_chunk: Callable[[Tensor, Tensor, Tensor], Tensor] = loss_sum,
) -> tuple[Tensor, int]:
    """The sum of the loss over all learned tokens, in nats, and their number: divide for the token-weighted mean.

    hidden: (B, T, D); weight: (V, D); labels: (B, T). At most `chunk` rows of logits exist at a time in the forward pass.
    """
    selected, targets = select_learned(hidden, labels)
    total = torch.zeros((), dtype=torch.float32, device=hidden.device)
    for at in range(0, len(targets), chunk):
        total = total + of_chunk(selected[at : at + chunk], weight, targets[at : at + chunk])
    return total, len(targets)
