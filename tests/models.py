"""Small models that tests build and save, so that the real from_pretrained path runs without a download."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

if TYPE_CHECKING:
    from metrics.score.columns import ScorerSettings

WORDS = "the a cat dog mat sat ran on under and hello world please table cluster job runs slow fast you are stupid kind"
LM_CONTEXT = 32
CLASSIFIER_CONTEXT = 16
INSULT = "stupid"
CIVIL = [word for word in WORDS.split() if word != INSULT]


def word_tokenizer(*, context: int, classifier: bool = False) -> PreTrainedTokenizerFast:
    """Byte-level BPE over a few words: any text has tokens, and known words have one each."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([WORDS, *(f"{word} {word}" for word in WORDS.split())] * 4, trainer)
    names = {"pad_token": special[0]} if classifier else {"bos_token": special[0], "eos_token": special[0]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context, **names)


def cleaning_tokenizer(*, classifier: bool = False) -> PreTrainedTokenizerFast:
    """Whole words, as SentencePiece writes them; Cyrillic is cleaned away, and U+FFFD becomes a blank."""
    names = ["[UNK]", "[CLS]", "[SEP]", "▁", "▁♠", *(f"▁{word}" for word in WORDS.split())]
    tokenizer = Tokenizer(models.WordLevel({name: at for at, name in enumerate(dict.fromkeys(names))}, "[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex("\\p{Cyrillic}"), ""), normalizers.Replace("\ufffd", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if classifier:
        ends = [("[CLS]", 1), ("[SEP]", 2)]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    context = CLASSIFIER_CONTEXT if classifier else LM_CONTEXT
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=context, unk_token="[UNK]", pad_token="[SEP]"
    )


def save_language_model(path: Path, *, zero: bool = False, bos: bool = True) -> Path:
    """A two-layer GPT-2 with random weights, or with all weights zero: then perplexity is the vocabulary's size."""
    tokenizer = word_tokenizer(context=LM_CONTEXT)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer), n_positions=LM_CONTEXT, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5
        )
    )
    if zero:
        for weight in model.parameters():
            weight.data.zero_()
    if not bos:
        tokenizer.bos_token = None
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def scorers_of(language_model: Path, classifier: Path, **toxicity: Any) -> ScorerSettings:
    """Settings of scorers with small models, in float32; ``toxicity``: others of the classifier."""
    from metrics.score.columns import ScorerSettings
    from schemas.config import Scoring
    from schemas.scorers import PerplexityModel, ToxicityModel

    perplexity = PerplexityModel(model=str(language_model), dtype="float32")
    settings: dict[str, Any] = {"model": str(classifier), "dtype": "float32", **toxicity}
    return ScorerSettings(Scoring(perplexity=perplexity, toxicity=ToxicityModel(**settings)))


def new_classifier(
    tokenizer: PreTrainedTokenizerFast, *, context: int, labels: Sequence[str] = ("nothate", "hate"), **settings: Any
) -> Any:
    """A small DistilBERT with random weights."""
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=context,
        n_heads=2,
        id2label=dict(enumerate(labels)),
        label2id={label: at for at, label in enumerate(labels)},
        **settings,
    )
    return DistilBertForSequenceClassification(config)


def save_classifier(
    path: Path, *, problem_type: str | None = None, labels: Sequence[str] = ("nothate", "hate")
) -> Path:
    """Two layers, which know nothing."""
    tokenizer = word_tokenizer(context=CLASSIFIER_CONTEXT, classifier=True)
    torch.manual_seed(1)
    sizes = {"dim": 16, "n_layers": 2, "hidden_dim": 32, "initializer_range": 0.5}
    model = new_classifier(tokenizer, context=CLASSIFIER_CONTEXT, labels=labels, problem_type=problem_type, **sizes)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def train_classifier(path: Path, *, context: int = 64) -> Path:
    """One layer that has learnt to find one insult among civil words, wherever it stands; a second of training."""
    tokenizer = word_tokenizer(context=context, classifier=True)
    torch.manual_seed(3)
    draw = random.Random(3)
    without_chance: dict[str, Any] = dict.fromkeys(("dropout", "attention_dropout", "seq_classif_dropout"), 0.0)
    model = new_classifier(tokenizer, context=context, dim=32, n_layers=1, hidden_dim=64, **without_chance)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(150):
        texts = [draw.choices(CIVIL, k=draw.randrange(1, context + 1)) for _ in range(32)]
        for words in texts[::2]:
            words[draw.randrange(len(words))] = INSULT
        encoded = tokenizer([" ".join(words) for words in texts], padding=True, truncation=True, return_tensors="pt")
        labels = torch.tensor([INSULT in tokenizer.decode(ids) for ids in encoded["input_ids"]]).long()
        loss = model(input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"], labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
