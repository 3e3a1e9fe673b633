"""The recipe for an accelerator, tried on a processor: what computes and learns there is what the shipped model is."""

from itertools import islice

import numpy as np
import torch
from recipes.tiny.stack import Stack
from recipes.tiny.teach import Batch, Expected, Rows, mixture, soft_loss
from torch.nn.functional import cross_entropy

from ramify.training.config import TrainConfig
from ramify.training.models import new_model
from ramify.training.optimizers import optimizers_for
from ramify.training.scratch_plans import PRESETS

CPU = torch.device("cpu")


def small(seed: int = 0) -> Stack:
    """A stack whose norms, too, are not what they began as."""
    made = Stack(PRESETS["small"], 512, device=CPU, dtype=torch.float32, seed=seed)
    torch.manual_seed(seed)
    for name, weight in made.weights.items():
        weight.add_(torch.randn_like(weight) * 0.05)
        made.copies[name].data.copy_(weight)
    return made


def test_a_stack_computes_and_learns_as_the_model_of_its_names() -> None:
    stack, model = small(), new_model(vocab_size=512, **PRESETS["small"])
    assert model.load_state_dict(stack.named(), strict=False).unexpected_keys == []
    ids = torch.randint(4, 512, (3, 40), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(stack.logits(stack.hidden(ids)), model(input_ids=ids).logits, atol=1e-5, rtol=0)
    mine = stack.optimizers(1e-3, 2e-3, 0.1)
    theirs = optimizers_for(model, TrainConfig(max_steps=1, learning_rate=1e-3, matrix_learning_rate=2e-3, weight_decay=0.1))
    losses: list[list[float]] = [[], []]
    for _ in range(3):
        said = (stack.logits(stack.hidden(ids)), model(input_ids=ids).logits)
        for found, logits in zip(losses, said, strict=True):
            loss = cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
            found.append(loss.item())
        stack.move(mine)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in theirs:
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(losses[0], losses[1], atol=1e-4, rtol=0)
    assert losses[0][2] < losses[0][0] - 0.5
    for name, weight in model.named_parameters():
        torch.testing.assert_close(stack.named()[name], weight.data, atol=1e-4, rtol=0)


def test_what_is_written_token_by_token_is_drawn_from_what_the_whole_says() -> None:
    stack = small()
    torch.manual_seed(3)
    written = stack.written(5, 1, 2, 30, fewest=-1.0)
    torch.manual_seed(3)
    drawn = [torch.rand(5, 1) for _ in range(29)]
    mass = stack.logits(stack.hidden(written)).softmax(-1).cumsum(-1)
    for at, chance in enumerate(drawn):
        place = torch.searchsorted(mass[:, at].contiguous(), chance * mass[:, at, -1:]).squeeze(1)
        assert place.tolist() == written[:, at + 1].tolist()


def rows() -> Rows:
    """Two kinds of rows whose tokens tell which row they are of: row n is n + 10, again and again."""

    def part(numbers: range) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
        lengths = [3 + n % 40 for n in numbers]
        ids = [n + 10 for n, length in zip(numbers, lengths, strict=True) for _ in range(length)]
        learned = [place > 0 for length in lengths for place in range(length)]
        return torch.tensor(ids, dtype=torch.int16), torch.tensor(learned), np.array(lengths)

    return Rows({"first": part(range(100)), "second": part(range(100, 300))})


def test_a_mixture_has_each_kind_s_rows_once_before_any_twice_and_keeps_to_the_size() -> None:
    held = rows()
    steps = list(islice(mixture(lambda: {"first": 0.5, "second": 0.5}, held, 256, 0), 200))
    seen = np.concatenate(steps)
    assert set(seen.tolist()) == set(range(300))
    first = np.bincount(seen[seen < 100], minlength=100)
    assert first.max() - first.min() <= 16  # a window of sixteen steps is shuffled by length
    for step in steps:
        batch = held.batch(step)
        assert batch.ids.numel() <= 256 or len(step) == 1
        for row, ids, learned in zip(step, batch.ids.tolist(), batch.learned.tolist(), strict=True):
            length = 3 + row % 40
            assert ids == [row + 10] * length + [0] * (len(ids) - length)
            assert learned == [False] + [True] * (length - 1) + [False] * (len(ids) - length)


def test_expectations_of_a_model_s_own_are_its_entropy_and_count_only_where_they_are_known() -> None:
    stack = small()
    ids = torch.randint(4, 512, (2, 12), generator=torch.Generator().manual_seed(2))
    at = torch.arange(24).view(2, 12)
    batch = Batch(ids, torch.ones_like(ids, dtype=torch.bool), at)
    expected = Expected(12, CPU)  # of the first row alone
    expected.ask([stack], Batch(ids[:1], batch.learned[:1], at[:1]))
    logits = stack.logits(stack.hidden(ids))
    logprobs = logits[:, :-1].log_softmax(-1)
    tokens = -logprobs.gather(2, ids[:, 1:].unsqueeze(2)).squeeze(2)
    likeliest = logprobs[0].topk(64).values
    rest = 1 - likeliest.exp().sum(-1)
    entropy = -(likeliest.exp() * likeliest).sum(-1) - rest * rest.log()
    loss, count = soft_loss(logits, batch, expected, 0.25)
    torch.testing.assert_close(loss, (0.25 * tokens[0] + 0.75 * entropy).sum() + tokens[1].sum(), atol=2e-2, rtol=0)
    assert int(count) == 22
    plain, _ = soft_loss(logits, batch)
    torch.testing.assert_close(plain, tokens.sum())
