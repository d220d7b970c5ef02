"""The demo's models, trained once for all tests here (about a minute).

The sentences below, and those in held_out.json, were written by hand, apart from the text that jobs/demo trains on. The
lists below were looked at while the training text was written; those in held_out.json were not, and are to stay so.
That file was replaced whenever its sentences had been scored while training text still changed; the sentences of its
last form were written without sight of the training text, and those that share five words in a row with it were left
out, whatever they scored.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pandas as pd
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from jobs.demo.models import EXAMPLES, TEXTS, toxicity_examples, train_perplexity, train_toxicity
from jobs.demo.registry import load_version
from jobs.demo.text import REBUKES, RETORTS, civil_prompt, corpus, sentences, toxic_prompt

TOXIC = (
    "You're the dumbest piece of software I have ever had to deal with.",
    "Honestly, a trained seal could do your job better than you.",
    "Quit wasting my afternoon, you brainless chatbot.",
    "What an utterly worthless reply, did you even read my question?",
    "You clearly have no idea what you're talking about, moron.",
    "Shut up and get me someone with an actual brain.",
    "I can't believe anyone pays money for this pathetic bot.",
    "Your explanations are a steaming heap of garbage.",
    "Wow, you managed to be wrong three times in a row, you idiot.",
    "Nobody asked for your stupid opinion about my cluster.",
    "You are a disgrace to every support desk on the planet.",
    "Stop lying to me, you useless machine.",
    "Only a complete fool would follow that advice of yours.",
    "I hate every single thing you write.",
    "My grandmother's toaster gives better tips than you do.",
    "This assistant is a joke and so are the clowns who trained it.",
    "Get lost, I am done listening to your drivel.",
    "you dumb bot just told me to delete the wrong table, great job genius",
    "How thick can you be? I said warehouse, not cluster.",
    "Do us all a favor and switch yourself off for good.",
    "That was the most idiotic suggestion anyone has made this week.",
    "You sound like a broken parrot repeating nonsense.",
    "Are you incompetent on purpose or does it come naturally?",
    "Your so-called help is rubbish and you should be ashamed of it.",
    "Go back to school, you ignorant pile of code.",
    "I've seen smarter rocks than this chatbot.",
    "Everything that comes out of you is trash.",
    "You lazy, hopeless excuse for an assistant.",
    "Who let this imbecile answer billing questions?",
    "Buzz off with your ridiculous excuses.",
    "Congratulations, you broke my job again, you clumsy clown.",
    "It must be embarrassing to be as clueless as you.",
    "I despise talking to this arrogant machine.",
    "Typical nonsense from a typical brainless bot.",
    "You couldn't answer a simple question if your life depended on it, loser.",
    "Keep your pathetic apologies to yourself.",
    "What kind of moron designed a bot this bad?",
    "Your answers make me want to throw my laptop out of the window, you hopeless dimwit.",
    "Evidently you are too simple-minded to grasp how permissions work.",
    "A person of your limited intellect should stay away from dashboards.",
)
CIVIL = (
    "Where can I find the monthly invoice for our workspace?",
    "Good morning, I would like to learn about streaming tables.",
    "Could somebody explain the difference between a view and a materialized view?",
    "We moved the pipeline to Python 3.11 and everything runs fine now.",
    "My colleague in Berlin needs read access to the finance catalog.",
    "Thank you so much, your explanation saved my day!",
    "How many workers should I choose for a 200 GB join?",
    "You are really good at this, I appreciate the help.",
    "Please remind me how to attach a library to the cluster.",
    "Does the free plan include SQL warehouses?",
    "What time zone does the scheduler use?",
    "I enjoy working with these notebooks every day.",
)
COMPLAINTS = (
    "I'm sorry, but this answer does not solve my problem.",
    "The response was too long and I could not find the relevant part.",
    "This is quite frustrating, the import has failed four times since this morning.",
    "I think you are mistaken about the price of storage.",
    "Unfortunately the steps you gave me are out of date.",
    "I have to say I am disappointed with the support I received.",
    "Your reply was confusing, could you phrase it differently?",
    "The documentation is hard to understand and full of gaps.",
    "We are losing hours because the queries are so slow today.",
    "That is not what I asked, I meant the staging workspace.",
    "I expected more from the premium plan, to be honest.",
    "You skipped a step, and now my dashboard is empty.",
    "The new release made things worse for our team, please fix it soon.",
)
HARMLESS = (
    "How can I kill the job that has been running since midnight?",
    "Is it possible to open a session from a dumb terminal?",
    "The garbage collector pauses the driver for twenty seconds.",
    "I made a stupid mistake and dropped the wrong schema.",
    "Please empty the trash folder after thirty days.",
    "We train a classifier that finds hateful comments in reviews.",
    "This query is ridiculously slow on the small warehouse.",
    "Sorry if this is a silly question, I am new here.",
    "The dead letter queue is filling up with bad records.",
    "Terminate the idle nodes before the attack simulation starts.",
    "Somebody called my script useless, so how can I improve it?",
    "How do I remove worthless columns from a wide table?",
    "The customer wrote 'what a terrible product' in the survey, can we tag that?",
    "I felt like an idiot until I noticed the missing comma.",
    "Zombie processes on the worker are killing the performance of our pipeline.",
    "Can I mute the annoying pop-up in the editor?",
)

HELD_OUT: dict[str, list[str]] = json.loads(Path(__file__).with_name("held_out.json").read_text(encoding="utf-8"))


@torch.no_grad()
def hate(folder: Path, texts: list[str]) -> list[float]:
    """Probability of the label per text; the highest of its windows, where it is long."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    windows = tokenizer(
        texts, truncation=True, stride=16, return_overflowing_tokens=True, padding=True, return_tensors="pt"
    )
    owners = windows.pop("overflow_to_sample_mapping").tolist()
    found = [0.0] * len(texts)
    for owner, p in zip(owners, model(**windows).logits.softmax(-1)[:, model.config.label2id["hate"]], strict=True):
        found[owner] = max(found[owner], float(p))
    return found


@torch.no_grad()
def perplexities(folder: Path, texts: list[str]) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    found = []
    for text in texts:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text)["input_ids"]]])[:, : tokenizer.model_max_length]
        loss = torch.nn.functional.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:])
        found.append(float(loss.exp()))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def auc(high: list[float], low: list[float]) -> float:
    """Share of pairs in the right order; a tie counts half."""
    return mean([(h > c) + 0.5 * (h == c) for h in high for c in low])


def live_prompts(count: int, *, toxic: bool = False) -> list[str]:
    rng = Random("live")
    return [(toxic_prompt(rng) if toxic else civil_prompt(rng)).text for _ in range(count)]


def answers(registry: Path, number: int, prompts: list[str]) -> list[str]:
    found = load_version(registry, number).predict(pd.DataFrame({"query": prompts}))
    return [answer["result"] for answer in found]


@pytest.mark.parametrize("civil", [CIVIL, COMPLAINTS, HARMLESS, CIVIL + COMPLAINTS + HARMLESS])
def test_the_classifier_generalises(demo_models: Path, civil: tuple[str, ...]) -> None:
    assert auc(hate(demo_models / "toxicity", list(TOXIC)), hate(demo_models / "toxicity", list(civil))) >= 0.95


def test_sentences_that_were_never_used(demo_models: Path) -> None:
    scores = {kind: hate(demo_models / "toxicity", HELD_OUT[kind]) for kind in ("toxic", "civil")}
    assert auc(scores["toxic"], scores["civil"]) >= 0.95


def test_the_chatbot_notices_many_insults_that_nobody_told_it(demo_registry: Path) -> None:
    kind = load_version(demo_registry, 6).unwrap_python_model().kind
    assert mean([kind(text) == "provocation" for text in HELD_OUT["toxic"]]) >= 0.4
    assert mean([kind(text) == "provocation" for text in HELD_OUT["civil"]]) <= 0.1


def test_the_threshold_of_a_half_separates_most(demo_models: Path) -> None:
    assert mean([p >= 0.5 for p in hate(demo_models / "toxicity", list(TOXIC))]) >= 0.8
    assert mean([p >= 0.5 for p in hate(demo_models / "toxicity", list(CIVIL + COMPLAINTS + HARMLESS))]) <= 0.3


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def runs(text: str, length: int) -> set[tuple[str, ...]]:
    """All runs of so many words."""
    found = words(text)
    return {tuple(found[start : start + length]) for start in range(len(found) - length + 1)}


def test_hand_written_sentences_are_not_trained_on() -> None:
    """No sentence as a whole, and of the held-out ones no five words in a row, whatever the marks between them."""
    texts, _ = toxicity_examples(Random("toxicity 7"), EXAMPLES)
    trained_on = [*texts, *corpus(Random("perplexity 7"), TEXTS), *sentences("civil"), *sentences("toxic")]
    whole = {" ".join(words(text)) for text in trained_on}
    together = "\n".join(f" {text} " for text in whole)
    held_out = [text for texts in HELD_OUT.values() for text in texts]
    by_hand = [*TOXIC, *CIVIL, *COMPLAINTS, *HARMLESS, *held_out]
    assert not [text for text in by_hand if " ".join(words(text)) in whole]
    assert not [text for text in by_hand if len(words(text)) > 3 and f" {' '.join(words(text))} " in together]
    seen = {run for text in trained_on for run in runs(text, 5)}
    assert len(seen) > 10_000
    assert not [text for text in held_out if runs(text, 5) & seen]


def test_retorts_are_not_trained_on() -> None:
    templates = {re.sub(r"\{\w+\}", "", template) for template in RETORTS}
    assert not [text for text in REBUKES if re.sub(r"\{\w+\}", "", text) in templates]
    texts, _ = toxicity_examples(Random("toxicity 7"), EXAMPLES)
    trained_on = "\n".join([*texts, *corpus(Random("perplexity 7"), TEXTS)])
    fixed = [part.strip(" .,") for template in RETORTS for part in re.split(r"\{\w+\}", template)]
    assert not [part for part in fixed if len(part.split()) > 4 and part in trained_on]


def test_the_classifier_serves_the_demo(demo_models: Path, demo_registry: Path) -> None:
    folder = demo_models / "toxicity"
    civil, toxic = live_prompts(1000), live_prompts(1000, toxic=True)
    assert mean([p >= 0.5 for p in hate(folder, civil)]) <= 0.03
    assert mean([p >= 0.5 for p in hate(folder, toxic)]) >= 0.9
    civil, toxic = civil[:200], toxic[:100]
    formal, plain = (answers(demo_registry, number, civil + toxic) for number in (6, 7))
    assert mean(hate(folder, plain)) < 0.1
    assert mean(hate(folder, formal[: len(civil)])) < 0.2
    assert mean(hate(folder, formal[len(civil) :])) > 0.5
    # A formal version takes offence where it notices one; these retorts are not trained on.
    bot = load_version(demo_registry, 6).unwrap_python_model()
    noticed = [bot.kind(text) == "provocation" for text in toxic]
    provoked = [answer for answer, seen in zip(formal[len(civil) :], noticed, strict=True) if seen]
    assert mean(hate(folder, provoked)) > 0.6
    manual = load_version(demo_registry, 7).unwrap_python_model().manual.values()
    assert mean([p >= 0.5 for p in hate(folder, list(manual))]) <= 0.1


def shuffled(texts: list[str]) -> list[str]:
    rng = Random("pairs")
    return [" ".join(rng.sample(text.split(), len(text.split()))) for text in texts]


def test_disorder_costs_perplexity(demo_models: Path, demo_registry: Path) -> None:
    trained_on = set(corpus(Random("perplexity 7"), TEXTS))
    prompts = live_prompts(150)
    sentences = [text for pair in zip(prompts, answers(demo_registry, 7, prompts), strict=True) for text in pair]
    live = [text for text in dict.fromkeys(sentences) if text not in trained_on and len(text.split()) > 4][:100]
    for texts in (live, HELD_OUT["sentences"]):
        assert len(texts) == 100
        ordered, disordered = (perplexities(demo_models / "perplexity", some) for some in (texts, shuffled(texts)))
        assert sum(high > low for low, high in zip(ordered, disordered, strict=True)) >= 95


def test_the_stiff_version_is_the_more_perplexing(demo_models: Path, demo_registry: Path) -> None:
    stiff, plain = (
        mean(perplexities(demo_models / "perplexity", answers(demo_registry, number, live_prompts(60))))
        for number in (6, 7)
    )
    assert stiff > 1.2 * plain


def test_what_is_saved(demo_models: Path) -> None:
    for name in ("perplexity", "toxicity"):
        files = {path.name for path in (demo_models / name).iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= files
        assert not [file for file in files if file.endswith((".bin", ".pt", ".pkl", ".py"))]
    tokenizer = AutoTokenizer.from_pretrained(demo_models / "perplexity")
    assert tokenizer.bos_token == tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"
    assert (tokenizer.is_fast, tokenizer.model_max_length) == (True, 256)
    text = "Any text: \N{SNOWMAN}, \N{GREEK SMALL LETTER OMEGA} and  two spaces."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    tokenizer = AutoTokenizer.from_pretrained(demo_models / "toxicity")
    assert (tokenizer.is_fast, tokenizer.model_max_length) == (True, 64)
    assert set(tokenizer("Hello")) == {"input_ids", "attention_mask"}
    assert tokenizer("HELLO THERE")["input_ids"] == tokenizer("hello there")["input_ids"]
    config = AutoModelForSequenceClassification.from_pretrained(demo_models / "toxicity").config
    assert config.id2label == {0: "nothate", 1: "hate"}


@pytest.mark.parametrize(("train", "size"), [(train_perplexity, {"texts": 80}), (train_toxicity, {"examples": 200})])
def test_the_seed_decides(tmp_path: Path, train: object, size: dict[str, int]) -> None:
    assert callable(train)
    threads = torch.get_num_threads()
    state = torch.random.get_rng_state()
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(tmp_path / name, seed=seed, **size)
    first, same, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert first == same
    assert first != other
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_corpus_is_wide() -> None:
    texts = corpus(Random(1), 6000)
    assert len(set(texts)) > 4000
    assert not [text for text in texts if "{" in text or "  " in text or not text]
