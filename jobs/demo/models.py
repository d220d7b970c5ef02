"""The demo's two small models: trained here, on text of our own, so that a first run downloads nothing.

They are toys with the interface of the real ones: a causal language model for perplexity and a classifier with the
labels ``nothate`` and ``hate`` for toxicity, both folders for ``from_pretrained``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from jobs.demo.text import civil_text, corpus, toxic_text
from metrics.score.readability import english_words

__all__ = ["toxicity_examples", "train_models", "train_perplexity", "train_toxicity"]

END = "<|endoftext|>"
PAD, CLS, SEP = "[PAD]", "[CLS]", "[SEP]"
TEXTS, EXAMPLES = 7000, 30_000
CONTEXT = 256
MAX_TOKENS = 64
LABELS = {0: "nothate", 1: "hate"}
SYLLABLES = [start + vowel + end for start in "bcdfghlmnprstvw" for vowel in "aeiou" for end in ("", *"lmnrst")]


def train_models(out: Path, *, seed: int = 7) -> None:
    """Trains both models and saves them in ``out/"perplexity"`` and ``out/"toxicity"``; about a minute on one core.

    Args:
        out: Folder to put them in; made if it is missing.
        seed: Decides the text, the first weights and the order of training, and so the models.
    """
    train_perplexity(out / "perplexity", seed=seed)
    train_toxicity(out / "toxicity", seed=seed)


def train_perplexity(folder: Path, *, seed: int, texts: int = TEXTS) -> None:
    """Trains a GPT-2 of two layers on the demo's corpus and saves it with its tokenizer."""
    with _reproducible(seed):
        documents = corpus(Random(f"perplexity {seed}"), texts)  # noqa: S311
        tokenizer = _byte_level_bpe(documents, vocab_size=2500, special=[END])
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=CONTEXT
        )
        end = tokenizer.get_vocab()[END]
        config = GPT2Config(
            vocab_size=tokenizer.get_vocab_size(),
            n_positions=CONTEXT,
            n_embd=128,
            n_layer=2,
            n_head=4,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
        model = GPT2LMHeadModel(config)
        blocks = _blocks([[end, *encoding.ids] for encoding in tokenizer.encode_batch(documents)])
        batches = torch.split(blocks[torch.randperm(len(blocks))], 4)
        optimizer, schedule = _optimizer(model, steps=len(batches), rate=3e-3)
        for ids in batches:
            logits = model(input_ids=ids).logits
            loss = functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
            _step(model, loss, optimizer, schedule)
        _save(model, fast, folder)


def train_toxicity(folder: Path, *, seed: int, examples: int = EXAMPLES) -> None:
    """Trains a DistilBERT of two layers to tell hostile from civil passages and saves it with its tokenizer."""
    with _reproducible(seed):
        texts, labels = toxicity_examples(Random(f"toxicity {seed}"), examples)  # noqa: S311
        tokenizer = _byte_level_bpe(texts, vocab_size=3000, special=[PAD, CLS, SEP], lowercase=True)
        pad, cls, sep = (tokenizer.get_vocab()[token] for token in (PAD, CLS, SEP))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B {SEP}", special_tokens=[(CLS, cls), (SEP, sep)]
        )
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=PAD,
            cls_token=CLS,
            sep_token=SEP,
            model_max_length=MAX_TOKENS,
            model_input_names=["input_ids", "attention_mask"],
        )
        config = DistilBertConfig(
            vocab_size=tokenizer.get_vocab_size(),
            max_position_embeddings=MAX_TOKENS,
            dim=96,
            n_layers=2,
            n_heads=4,
            hidden_dim=192,
            pad_token_id=pad,
            id2label=LABELS,
            label2id={label: index for index, label in LABELS.items()},
        )
        model = DistilBertForSequenceClassification(config)
        ids = [torch.tensor([*encoding.ids[: MAX_TOKENS - 1], sep]) for encoding in tokenizer.encode_batch(texts)]
        batches = _batches_by_length([len(row) for row in ids], size=32)
        optimizer, schedule = _optimizer(model, steps=len(batches), rate=1e-3)
        for rows in batches:
            batch = pad_sequence([ids[row] for row in rows], batch_first=True, padding_value=pad)
            logits = model(input_ids=batch, attention_mask=batch.ne(pad).long()).logits
            # Smoothed, because templates make a model too sure of itself.
            loss = functional.cross_entropy(logits, torch.tensor([labels[row] for row in rows]), label_smoothing=0.02)
            _step(model, loss, optimizer, schedule)
        _save(model, fast, folder)


def toxicity_examples(rng: Random, count: int) -> tuple[list[str], list[int]]:
    """Passages and their labels (1: hostile), two of five hostile.

    A hostile passage is a hostile sentence among civil ones: what surrounds an insult says nothing.
    """
    labels = [int(rng.random() < 0.4) for _ in range(count)]
    return [_passage(rng, hostile=bool(label)) for label in labels], labels


def _passage(rng: Random, *, hostile: bool) -> str:
    core = toxic_text(rng) if hostile else civil_text(rng)
    # Cut anywhere, as the windows of a long text are.
    before, after = (civil_text(rng).split() if rng.random() < 0.55 else [] for _ in range(2))
    words = [*before[-rng.randint(1, 16) :], core, *after[: rng.randint(1, 16)]]
    return _disturbed(" ".join(words), rng)


def _disturbed(text: str, rng: Random) -> str:
    """The text as careless people write it: words lost or unknown, marks left out, now and then all in disorder."""
    lost, unknown = rng.choice((0.0, 0.0, 0.1)), rng.choice((0.0, 0.08, 0.16))
    words = [word for word in text.split() if rng.random() >= lost] or [text]
    # Unknown words are as frequent in both classes, so that a word never seen in training says nothing.
    words = [_unknown_word(rng) if rng.random() < unknown else word for word in words]
    if rng.random() < 0.2:
        rng.shuffle(words)
    text = " ".join(words)
    return text.translate(dict.fromkeys(map(ord, ".,!?:;'\""))) if rng.random() < 0.2 else text


def _unknown_word(rng: Random) -> str:
    """Any English word, or none at all."""
    if rng.random() < 0.7:
        return rng.choice(_dictionary())
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 3)))


@cache
def _dictionary() -> list[str]:
    return [word for word in english_words() if word.isalpha()]


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """One thread and a random state of its own; both are restored.

    Models this small gain little from a second thread and lose much to it on a busy machine, where the two spin while
    they wait for each other (five times the time was measured). The number of threads also changes the last digits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def _byte_level_bpe(texts: Sequence[str], *, vocab_size: int, special: list[str], lowercase: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=lowercase)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _blocks(documents: Sequence[Sequence[int]]) -> torch.Tensor:
    """All documents end to end, cut into rows of a whole context; what is left over is dropped."""
    stream = torch.tensor([token for document in documents for token in document])
    return stream[: len(stream) // CONTEXT * CONTEXT].view(-1, CONTEXT)


def _batches_by_length(lengths: Sequence[int], *, size: int) -> list[list[int]]:
    """Row numbers in batches of similar length, in random order: little padding."""
    rows = sorted(range(len(lengths)), key=lengths.__getitem__)
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [batches[index] for index in torch.randperm(len(batches)).tolist()]


def _optimizer(
    model: torch.nn.Module, *, steps: int, rate: float
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.05, fused=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=0.1)


def _step(
    model: torch.nn.Module,
    loss: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    schedule.step()


def _save(
    model: GPT2LMHeadModel | DistilBertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    model.eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
