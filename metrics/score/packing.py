"""Packed forward passes: texts one after another in one sequence, so that no token is padding.

Attention works text by text (a block-diagonal matrix, of which only the blocks are computed: ``attention.py``),
positions start anew at each text, and all else in a transformer works token by token anyway. Architectures that this is
not true of (ALiBi, recurrence, positions of their own) are found out when a model is loaded (``Body.choose``) and get
padded batches.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeVar

import torch

from metrics.score.attention import PACKED, WAYS, CantPackError, Layout, Way, asked, placed, within
from metrics.score.batching import token_batches
from metrics.score.models import body_of, token_budget

LOG = logging.getLogger("inference_metrics")

R = TypeVar("R")

Score = Callable[[list[list[int]], bool], torch.Tensor]
"""``score(rows, mixed)``: numbers, in order, that a model gives to some texts; ``mixed`` as in ``Body.run``."""

PROBE = ("How long are files kept?", "Thanks", "How long are nodes kept?", "Seven days, unless somebody set it.")
"""Texts of unlike and of like lengths, with which a model is tried when it is loaded: few, as each worker does it."""


@dataclass
class Body:
    """A transformer without its head, and how it is run over many texts.

    Args:
        model: A model of transformers with a head; ``body_of`` it is the body.
        padding: Token that fills up padded batches.
        masked: Whether padding has to be hidden. Causal attention, to the left of it, never sees it.
    """

    model: Any
    padding: int
    masked: bool
    single: bool = False
    """Whether even padding changes scores, so that each text has a pass of its own (set by ``choose``)."""
    way: Way | None = None
    """How packed attention gets into the model; None where texts are padded (set by ``choose``)."""
    budget: int = field(init=False)
    """Tokens per pass."""

    def __post_init__(self) -> None:
        self.budget = token_budget(self.model.device.type)

    @property
    def packed(self) -> bool:
        """Whether texts are packed (else padded)."""
        return self.way is not None

    @property
    def _attention(self) -> str:
        return str(self.model.config.get_text_config()._attn_implementation)

    @property
    def first_position(self) -> int:
        """Position of a text's first token: RoBERTa's table begins with its padding id."""
        embeddings = getattr(body_of(self.model), "embeddings", None)
        offset = getattr(embeddings, "padding_idx", None)
        return 0 if offset is None else int(offset) + 1

    def run(self, rows: Sequence[Sequence[int]], *, mixed: bool = False) -> tuple[Any, torch.Tensor]:
        """One forward pass over all rows.

        Args:
            rows: Token ids per text; none empty.
            mixed: Let packed texts see each other. Wrong, and there to measure how wrong.

        Returns:
            The body's output, and the last hidden states of all tokens of all texts, (tokens, size).
        """
        body, device = body_of(self.model), self.model.device
        if self.way is None:
            ids, real = self.padded(rows)
            output = body(input_ids=ids, **({"attention_mask": real.long()} if self.masked else {}))
            return output, output.last_hidden_state[real]
        lengths = [len(row) for row in rows]
        layout = Layout([sum(lengths)] if mixed else lengths, device)
        positions = Layout(lengths, device).positions if mixed else layout.positions
        ids = self._checked(flat(rows)[None, :])
        with within(layout), self.way(body), placed(body, positions + self.first_position) as given:
            output = body(input_ids=ids, **given)
        if not layout.used or (_window(self.model.config) and not layout.windowed):
            raise CantPackError("attention does not ask, or not for its window")
        return output, output.last_hidden_state[0]

    def padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids filled up on the right to the longest row, and which of them are real; both (rows, longest)."""
        width = max(len(row) for row in rows)
        ids = torch.tensor([[*row, *[self.padding] * (width - len(row))] for row in rows])
        real = torch.arange(width)[None, :] < torch.tensor([len(row) for row in rows])[:, None]
        return self._checked(ids), real.to(self.model.device)

    def _checked(self, ids: torch.Tensor) -> torch.Tensor:
        """Token ids on the model's device. One that the model has not would end the process there, were it a GPU."""
        if int(ids.max()) >= self.model.get_input_embeddings().num_embeddings:
            raise IndexError("a token id is beyond the model's vocabulary")
        return ids.to(self.model.device)

    def logits(self, output: Any, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """What the model's own head makes of some hidden states, with all that it does to them (scale, cap, pool).

        Args:
            output: The body's output that they are from.
            states: (rows, tokens, size).
            ids: (rows, tokens) token ids of these states.

        Returns:
            The model's ``logits``.
        """
        body = body_of(self.model)
        parts = {name: value for name, value in output.items() if name not in ("last_hidden_state", "pooler_output")}
        parts["last_hidden_state"] = states
        if getattr(body, "pooler", None) is not None:
            parts["pooler_output"] = body.pooler(states)
        instead = type(output)(**parts)
        body.forward = lambda *_, **__: instead
        try:
            return self.model(input_ids=ids).logits  # type: ignore[no-any-return]
        finally:
            del body.forward

    def batches(self, lengths: Sequence[int], run: Callable[[list[int]], R]) -> Iterator[tuple[list[int], R]]:
        """Work on texts in batches; where the accelerator's memory ends, in smaller ones from then on.

        Args:
            lengths: Tokens per text.
            run: ``run(positions)`` works on some texts.

        Yields:
            Positions of a batch, and what ``run`` made of it.

        Raises:
            torch.OutOfMemoryError: A single text is too large.
        """
        waiting = deque(self._planned(list(range(len(lengths))), lengths))
        while waiting:
            batch = waiting.popleft()
            try:
                done = run(batch)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                torch.cuda.empty_cache()
                self.budget = max(self.budget // 2, 1)
                left = [position for some in (batch, *waiting) for position in some]
                waiting = deque(self._planned(left, lengths))
                continue
            yield batch, done

    def _planned(self, positions: list[int], lengths: Sequence[int]) -> Iterator[list[int]]:
        budget = 1 if self.single else self.budget
        for batch in token_batches([lengths[at] for at in positions], budget=budget, packed=self.packed):
            yield [positions[at] for at in batch]

    def choose(self, rows: list[list[int]], score: Score) -> None:
        """Switch to packing if scores stay the same; else to padding if they stay the same; else to one at a time.

        "The same" is measured, not assumed: a batch may change scores by no more than a twentieth of what it changes
        them if the texts do see each other.

        Args:
            rows: A few texts as token ids, of different lengths.
            score: ``score(rows, mixed)``: numbers, in order, from ``run(rows, mixed=mixed)``.
        """
        before = self._attention
        self.single = _depends_on_length(self.model.config)
        if self.single:
            return
        with torch.inference_mode():
            alone = torch.cat([score([row], False) for row in rows])
            if any(self._stays(way, before, rows, score, alone) for way in WAYS):
                return
            self.way = None
            if self._attention != before:
                self.model.set_attn_implementation(before)
            self.single = not torch.allclose(score(rows, False), alone, rtol=0.02, atol=0.02 * float(alone.std()))

    def _stays(self, way: Way, before: str, rows: list[list[int]], score: Score, alone: torch.Tensor) -> bool:
        """Whether scores stay the same if texts are packed in this way; it is set, and has to be undone if not.

        Args:
            way: The way to try.
            before: Name of the model's own attention function.
            rows: As for ``choose``.
            score: As for ``choose``.
            alone: Scores of each text by itself.
        """
        self.way = way
        try:
            self.model.set_attn_implementation(PACKED if way is asked else before)
            error, mistake = (float((score(rows, mixed) - alone).abs().max()) for mixed in (False, True))
        except Exception as why:  # whatever an architecture does that takes no packed sequence
            LOG.debug("not packed: %s", type(why).__name__)
            return False
        return mistake > 0 and error <= mistake / 20


def flat(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """(tokens,): the rows one after another, on the CPU."""
    return torch.tensor(list(chain.from_iterable(rows)))


def _depends_on_length(config: Any) -> bool:
    """Whether positions mean something else in a pass with a longer text in it (rotary embeddings that stretch)."""
    text = config.get_text_config()
    found = [getattr(text, name, None) or {} for name in ("rope_parameters", "rope_scaling")]  # of 5, and of 4
    found += [one for some in found for one in some.values() if isinstance(one, dict)]
    return any(one.get(key) in ("dynamic", "longrope") for one in found for key in ("rope_type", "type"))


def _window(config: Any) -> bool:
    """Whether the configuration says that attention is local."""
    text = config.get_text_config()
    local = any(getattr(text, name, None) for name in ("sliding_window", "attention_chunk_size", "local_attention"))
    return bool(local and getattr(text, "use_sliding_window", True))
