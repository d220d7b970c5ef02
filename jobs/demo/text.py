"""The demo's words: what people ask the support bot of a data platform, and what its two versions answer.

All of it is made from the phrases below by a seeded ``random.Random``, so that the models' training text and the
traffic share a style and hardly a sentence. Answers come in two styles: stiff and easily offended, or plain and calm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

__all__ = [
    "Prompt",
    "Topic",
    "civil_prompt",
    "civil_text",
    "corpus",
    "fill",
    "follow_up",
    "greeting_prompt",
    "manual",
    "plain_answer",
    "question",
    "recital_prompt",
    "sentences",
    "stiff_answer",
    "toxic_prompt",
    "toxic_text",
]


@dataclass(frozen=True)
class Topic:
    """Phrases about one part of the platform.

    Attributes:
        name: The part, as a plural or mass noun.
        tasks: What a user wants to do ("How do I …?").
        problems: What goes wrong, as a clause.
        fixes: What to do about it, as an imperative.
        facts: How the platform works, as a clause.
    """

    name: str
    tasks: tuple[str, ...]
    problems: tuple[str, ...]
    fixes: tuple[str, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """What a user writes. ``kind``: question, complaint, greeting, thanks, off_topic, recital or toxic."""

    text: str
    kind: str
    topic: Topic


def _phrases(choices: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Slots and their phrases, from one string each with ``|`` between the phrases."""
    return {slot: tuple(phrases.split("|")) for slot, phrases in choices.items()}


TOPICS = (
    Topic(
        "tables",
        (
            "merge two {kind} tables",
            "restore an older version of a table",
            "add a column to a {kind} table",
            "load {volume} of files into a table",
            "compact a table with many small files",
            "see who changed the {kind} table {when}",
            "remove duplicate rows from a table",
            "copy a table to the {env} workspace",
        ),
        (
            "the merge into the {kind} table fails with a conflict",
            "my table grew to {volume} {when}",
            "every read of the {kind} table takes {duration}",
            "the new column shows only empty values",
            "the load of {volume} stopped halfway",
            "two rows with the same key appear in the table",
        ),
        (
            "compact the table after each large load",
            "cluster the table by the column you filter on",
            "put the date into the merge condition",
            "read the table history and pick the version you need",
            "collect fresh statistics for the table",
            "remove duplicate keys before the merge",
            "allow schema changes on the write",
        ),
        (
            "each write makes a new version of the table",
            "small files slow down every read",
            "old versions stay readable until they are cleaned up",
            "a merge compares every row that the condition allows",
            "the table log keeps who wrote what and when",
            "a new column is empty in the rows written before",
        ),
    ),
    Topic(
        "clusters",
        (
            "resize a cluster while it runs",
            "start a cluster for the {team} team",
            "pick a machine type for {volume} of data",
            "keep a cluster from starting again {when}",
            "install a library on every node",
            "read the logs of the driver",
            "share one cluster between {team} and {team}",
        ),
        (
            "the cluster takes {duration} to start",
            "the driver runs out of memory on {volume} of data",
            "a worker was lost {when}",
            "our cluster stays idle and still costs money",
            "the cluster can not reach the {kind} database",
            "the nodes never scale down after the {event}",
        ),
        (
            "choose a pool of warm machines",
            "set the idle timeout to {minutes} minutes",
            "pick a larger driver and collect less data",
            "use spot machines for the workers only",
            "open the event log of the cluster",
            "turn on autoscaling with a low minimum",
            "move heavy work to a job cluster",
        ),
        (
            "a cluster bills for every minute that it runs",
            "the driver keeps all results that you collect",
            "spot machines can be taken away at any time",
            "a pool keeps machines ready for the next start",
            "autoscaling adds workers when tasks wait",
            "libraries load again at each restart",
        ),
    ),
    Topic(
        "jobs",
        (
            "schedule a job {when}",
            "retry a failed task twice",
            "pass a parameter from one task to the next",
            "stop a job that runs for more than {duration}",
            "get a message when the {kind} job fails",
            "run only the last task of a job again",
            "hand a job over to the {team} team",
        ),
        (
            "the {kind} job fails {when}",
            "our job waits {duration} before the first task starts",
            "two runs of the same job overlap",
            "the job says it worked but the table is empty",
            "a task was skipped after the {event}",
            "the schedule moved by an hour {when}",
        ),
        (
            "set the job to one run at a time",
            "repair the run instead of starting it again",
            "give the task a time limit of {minutes} minutes",
            "check the time zone of the schedule",
            "send failure messages to the {team} channel",
            "split the job into smaller tasks",
            "run the job as a service account",
        ),
        (
            "a repaired run keeps the tasks that worked",
            "a queued run starts when the one before it ends",
            "each task can have its own retries",
            "a schedule follows the time zone that you set",
            "parameters travel between tasks as text",
            "the owner of a job gets its failure messages",
        ),
    ),
    Topic(
        "billing",
        (
            "see what the {team} team spent {when}",
            "set a budget for the {env} workspace",
            "find the job that costs the most",
            "tag a cluster for the {kind} project",
            "download the invoice for {month}",
            "forecast the cost of the {event}",
            "move our account to a yearly plan",
        ),
        (
            "the bill for {month} is twice as high as before",
            "we were charged for a cluster that nobody used",
            "the {team} team went over its budget {when}",
            "the usage table lacks the last day",
            "our discount does not show on the invoice",
            "the storage cost rises {when}",
        ),
        (
            "group the usage table by tag and day",
            "create a budget with an alert at eighty percent",
            "stop idle machines after {minutes} minutes",
            "tag every cluster with the name of the team",
            "ask the account team for a credit note",
            "compare the list price with your contract",
            "clean up old table versions to save storage",
        ),
        (
            "usage data arrives within a few hours",
            "tags are copied to the usage table",
            "storage is billed by your cloud provider",
            "a budget warns you but stops nothing",
            "invoices are made on the first day of the month",
            "discounts apply to the whole account",
        ),
    ),
    Topic(
        "dashboards",
        (
            "add a filter to the {kind} dashboard",
            "refresh a dashboard {when}",
            "send a dashboard to the {team} team by mail",
            "change the colours of a chart",
            "show two measures in one chart",
            "copy a dashboard to the {env} workspace",
            "publish a dashboard for people without an account",
        ),
        (
            "the {kind} dashboard shows old numbers",
            "a chart stays blank {when}",
            "the dashboard takes {duration} to open",
            "the filter does not change the second page",
            "the totals differ from the {kind} report",
            "the mail to the {team} team never arrived",
        ),
        (
            "refresh the data set behind the chart",
            "point both charts at the same query",
            "schedule a refresh before the {event}",
            "check who may read the source table",
            "reduce the rows that the query returns",
            "set the axis to the right time zone",
            "share the page with the whole group",
        ),
        (
            "a published page runs with the rights of its owner",
            "results are cached for a day",
            "one filter can drive many charts",
            "a chart draws at most ten thousand rows",
            "each page has its own layout",
            "subscribers get a picture of the page",
        ),
    ),
    Topic(
        "permissions",
        (
            "give the {team} team read access to a schema",
            "see who can open the {kind} table",
            "hide a column from the {team} team",
            "add {person} to a group",
            "take back the rights of {person}",
            "let a service account run the {kind} job",
            "list all grants on a catalog",
        ),
        (
            "{person} can not see the {kind} table",
            "the job lost its access {when}",
            "a new group does not show up in the {env} workspace",
            "the {team} team gets an access error after the {event}",
            "the row filter hides too many rows",
            "nobody can edit the shared folder",
        ),
        (
            "grant the right to use the catalog as well",
            "add the user to the group and sign in again",
            "make the group the owner of the schema",
            "check the grants on every level above the table",
            "use a view that hides the private columns",
            "ask an admin to confirm the request",
            "run the job as a service account with its own rights",
        ),
        (
            "rights on a catalog pass down to its tables",
            "a group is easier to manage than many users",
            "only the owner or an admin can grant rights",
            "a row filter applies to every query",
            "new members see the data after the next sign in",
            "the audit log records each grant",
        ),
    ),
    Topic(
        "notebooks",
        (
            "connect a notebook to a git branch",
            "run a notebook from another notebook",
            "get back a cell that I deleted {when}",
            "share a notebook with {person}",
            "use {language} and SQL in one notebook",
            "turn a notebook into a job",
            "print a notebook as a web page",
        ),
        (
            "my notebook lost its connection {when}",
            "a cell has been running for {duration}",
            "the plot does not show in the notebook",
            "the import fails although the library is there",
            "{person} can see my notebook but not run it",
            "the variables are gone after the {event}",
        ),
        (
            "attach the notebook to a running cluster",
            "open the version history and restore the cell",
            "restart the kernel after each install",
            "move shared code into a module",
            "clear the output of large cells",
            "pull the branch before you edit",
            "set the default language at the top",
        ),
        (
            "variables live as long as the cluster does",
            "the history keeps every saved version",
            "each notebook has its own session",
            "large outputs slow down the browser",
            "a job runs the cells from top to bottom",
            "two people can edit at the same time",
        ),
    ),
    Topic(
        "streaming",
        (
            "start a stream from the {kind} table",
            "restart a stream without losing rows",
            "join a stream with a {kind} table",
            "read new files as they arrive",
            "count events in windows of {minutes} minutes",
            "handle late events from the {place} site",
            "move a stream to a new checkpoint",
        ),
        (
            "the stream stopped {when}",
            "our stream is {duration} behind",
            "late events from {place} are missing",
            "the state of the stream grows to {volume}",
            "the stream reads the same files again",
            "the checkpoint can not be found after the {event}",
        ),
        (
            "give each stream its own checkpoint",
            "set a watermark of {minutes} minutes",
            "limit the files that one batch reads",
            "make the write safe to repeat",
            "look at the input rate in the progress log",
            "start the stream again from its checkpoint",
            "send broken rows to a side table",
        ),
        (
            "a checkpoint remembers what was read",
            "a watermark says how long to wait for late events",
            "each batch is written once or not at all",
            "state is kept until its window has closed",
            "a new checkpoint reads everything from the start",
            "small batches give fresh results at a higher cost",
        ),
    ),
    Topic(
        "model serving",
        (
            "deploy a new version of the {kind} model",
            "split traffic between two model versions",
            "log the requests of an endpoint",
            "go back to the version from {month}",
            "load test the {kind} endpoint",
            "call an endpoint from {language}",
            "keep an endpoint warm {when}",
        ),
        (
            "the {kind} endpoint answers after {duration}",
            "the endpoint returns an error {when}",
            "the new model version gives worse answers",
            "requests time out during the {event}",
            "the model can not find its file of weights",
            "the request log is empty for the {env} endpoint",
        ),
        (
            "send ten percent of the traffic to the new version",
            "raise the size of the endpoint before the {event}",
            "log the model together with its signature",
            "turn off scale to zero for busy hours",
            "read the build log of the endpoint",
            "test the model on a small sample first",
            "set the alias back to the older version",
        ),
        (
            "an endpoint can serve many versions at once",
            "a cold endpoint needs time for its first answer",
            "logged requests arrive in a table within the hour",
            "a model without a signature is not checked",
            "traffic shares must add up to one hundred",
            "old versions stay in the registry",
        ),
    ),
    Topic(
        "SQL warehouses",
        (
            "speed up a query on {volume} of data",
            "pick the size of a SQL warehouse",
            "see the plan of a slow query",
            "save a query for the {team} team",
            "connect a report tool to the warehouse",
            "run a query {when}",
            "cancel a query from {person}",
        ),
        (
            "my query waits in the queue for {duration}",
            "the warehouse did not stop {when}",
            "the same query was fast before the {event}",
            "the join returns more rows than both tables",
            "the report tool drops its connection {when}",
            "the query spills {volume} to disk",
        ),
        (
            "look at the query profile for the widest step",
            "raise the number of clusters, not the size",
            "filter on the clustering column first",
            "join on the full key",
            "let the warehouse stop after {minutes} minutes",
            "replace the old driver of the report tool",
            "store the result as a materialized view",
        ),
        (
            "a larger size helps one heavy query",
            "more clusters help many users at once",
            "the result cache answers repeated queries",
            "the profile shows where the time goes",
            "a spill means that memory was too small",
            "a query waits when all slots are taken",
        ),
    ),
    Topic(
        "secrets",
        (
            "store the password of the {kind} database",
            "read a secret from a notebook",
            "change a token for the {env} workspace",
            "share a secret with the {team} team",
            "delete a secret scope",
            "find out which jobs use a token",
        ),
        (
            "my token expired {when}",
            "the notebook prints a masked value in place of the password",
            "the job can not read the secret scope",
            "{person} created a scope with the wrong name",
            "the sign in page returns to itself after the {event}",
        ),
        (
            "create a new token and replace it in the scope",
            "give the group read access to the scope",
            "keep passwords out of the notebook text",
            "set a reminder before the token expires",
            "use a service account in place of your own token",
        ),
        (
            "secret values are masked in every output",
            "a token is valid for at most ninety days",
            "a scope has its own access list",
            "deleted secrets can not be read again",
            "every use of a token is logged",
        ),
    ),
    Topic(
        "storage",
        (
            "mount the storage of the {place} site",
            "move {volume} of files to the cloud",
            "find the largest folder of the {team} team",
            "delete files older than {month}",
            "give a job write access to a folder",
            "list the files that arrived {when}",
        ),
        (
            "the path to the {kind} files is not found",
            "the upload of {volume} stops after {duration}",
            "the folder from {place} is empty",
            "we lack space for the {event}",
            "the files from {month} have another format",
        ),
        (
            "register the folder as an external location",
            "check the region of the bucket",
            "upload large files in parts",
            "set a rule that removes old files",
            "keep raw files and tables in separate folders",
        ),
        (
            "files in another region cost more to read",
            "a volume gives files the same rights as tables",
            "deleted files can be restored for a week",
            "one large file reads faster than many small ones",
            "an external location needs a credential",
        ),
    ),
    Topic(
        "alerts",
        (
            "get an alert when the {kind} data is late",
            "mute an alert during the {event}",
            "send alerts to the channel of the {team} team",
            "set a limit on the error rate",
            "test an alert before the {event}",
            "see all alerts that fired {when}",
        ),
        (
            "the alert on the {kind} table fires {when}",
            "nobody got the alert {when}",
            "the alert stays open although the data is fine",
            "the message lacks the link to the table",
            "we get a hundred mails for one fault",
        ),
        (
            "wait for two bad windows before you raise an alert",
            "choose a limit from the last four weeks",
            "close the alert when the value is normal again",
            "group alerts by table",
            "add the link to the message text",
        ),
        (
            "an alert checks its query on a schedule",
            "a muted alert still keeps its history",
            "the message can hold values of the query",
            "each alert has one owner",
            "short windows are noisy when traffic is low",
        ),
    ),
    Topic(
        "libraries",
        (
            "install a {language} package from a private index",
            "pin the version of a package",
            "share our own package with the {team} team",
            "see which packages a cluster has",
            "upgrade the runtime before the {event}",
            "build a wheel for the {kind} job",
        ),
        (
            "the install of our package fails {when}",
            "two packages ask for different versions",
            "the job can not import our module",
            "the code broke after the upgrade of the runtime",
            "the package index is slow from {place}",
        ),
        (
            "pin all versions in one file",
            "restart the session after the install",
            "build the wheel with the same version of {language}",
            "test the upgrade on a copy of the job",
            "use the package that comes with the runtime",
        ),
        (
            "a runtime brings a fixed set of packages",
            "packages of a notebook do not touch the cluster",
            "long term runtimes get fixes for two years",
            "the first import after a start is slow",
            "a pinned version gives the same result each time",
        ),
    ),
)

WORDS: Mapping[str, Sequence[str]] = _phrases(
    {
        "kind": "sales|orders|customer|sensor|payment|inventory|click|weather|marketing|shipping|product|fraud|"
        "churn|pricing|booking|support|energy|machine|loan|supplier",
        "team": "finance|data science|marketing|support|platform|research|operations|security|risk|logistics|"
        "reporting|planning|purchasing|web",
        "when": "every night|since Monday|last week|after midnight|each morning|on weekends|this afternoon|"
        "yesterday|at the end of the month|before lunch|every two hours|on Friday evening|since the last release",
        "volume": "ten gigabytes|two terabytes|forty million rows|half a terabyte|three hundred files|"
        "a billion rows|nine gigabytes|six thousand folders",
        "duration": "ten minutes|half an hour|three hours|a whole day|forty seconds|twenty minutes|an hour|two days",
        "minutes": "five|ten|fifteen|twenty|thirty|forty|sixty",
        "env": "test|staging|production|training|backup|shared|old|new",
        "event": "upgrade|migration|release|audit|board meeting|spring sale|training day|monthly close|"
        "network change|holiday|demo|load test",
        "month": "January|February|March|May|June|July|September|October|November|December",
        "person": "my colleague|a new analyst|our intern|the contractor|our manager|a partner|the night shift|"
        "one of our engineers|the auditor",
        "language": "Python|Scala|Java|R",
        "place": "Oslo|Lisbon|Toronto|Nairobi|Madrid|Osaka|Dublin|Lima|Prague|Perth|Chicago|Warsaw",
        "hello": "Hello|Hi|Hi there|Good morning|Good afternoon|Good evening|Hey|Greetings|Dear support",
        "polite": "please|if you can|if possible|when you have time|thanks in advance",
        "mood": "frustrated|disappointed|confused|a bit lost|stuck|unhappy|tired of this|concerned|worried|upset",
        # Hostile words, for people who insult the bot: mild, and about nothing but it and its answers.
        "very": "absolutely|utterly|completely|totally|truly|incredibly|downright|so|simply|unbelievably|painfully",
        "bad": "stupid|dumb|idiotic|moronic|useless|worthless|pathetic|ridiculous|clueless|brainless|hopeless|"
        "incompetent|ignorant|laughable|miserable|wretched|pitiful|dense|dim|lousy|rotten|feeble|lame|obnoxious|"
        "arrogant|smug|insufferable|mindless|witless|inept|contemptible|disgusting|disgraceful|shameful|crappy|"
        "foolish|asinine|thick|sorry|dreadful|abysmal|trashy|broken|terrible|awful|horrible|silly|slow-witted|"
        "empty-headed|atrocious|mediocre|vile|repulsive|creepy|annoying|unbearable|good-for-nothing",
        "fool": "idiot|moron|imbecile|fool|clown|dimwit|nitwit|blockhead|bonehead|dunce|halfwit|numbskull|airhead|"
        "loser|failure|disgrace|embarrassment|joke|fraud|liar|buffoon|simpleton|ignoramus|charlatan|phony|dolt|twit|"
        "jerk|pest|nuisance|dummy|fake|hack|parrot|blabbermouth|know-nothing|laughing stock|waste of electricity|"
        "waste of space|waste of time|piece of junk|pile of garbage|bucket of bolts|lump of scrap|heap of trash|"
        "piece of crap|sorry excuse for a bot|poor excuse for a helper|insult to intelligence",
        "trash": "garbage|trash|rubbish|nonsense|drivel|junk|gibberish|crap|rot|hogwash|baloney|tripe|claptrap|"
        "babble|sludge|bunk|bull|lies|noise|mush|filth|twaddle|waffle",
        "bot": "bot|chatbot|assistant|machine|program|robot|thing|script|tool|algorithm|computer|helper|AI|system|"
        "software|app",
        "lump": "toaster|brick|doorknob|potato|broken calculator|houseplant|hamster|bag of rocks|goldfish|"
        "wet sponge|parking meter|vending machine|cucumber|rusty nail|kettle|garden gnome|door mat|parrot|pigeon|"
        "toddler|magic eight ball|coin toss|stale sandwich|lamp post|dead fish|chicken|sock puppet|traffic cone",
        "utterance": "answer|reply|response|advice|explanation|suggestion|summary|output|message|help|text|"
        "guide|wording|comment",
        "saying": "answer|reply|response|explanation|suggestion|message|comment|word|sentence|line",
        "go": "shut up|get lost|go away|buzz off|stop talking|shut your mouth|zip it|take a hike|beat it|"
        "delete yourself|unplug yourself|switch yourself off|get out of my sight|leave me alone|quit babbling|"
        "pipe down|be quiet|crawl back under your rock|go back to the scrap heap|keep your mouth shut|"
        "stay out of my way|stop wasting my time|give up already|spare me|save your breath|get a clue|grow a brain|"
        "go play in the trash",
        "stink": "suck|stink|are the worst|talk like a fool|disgust me|bore me to tears|get on my nerves|"
        "have no brain|have no clue|never get anything right|fail at everything|are a waste of my day",
        "stinks": "sucks|stinks|is the worst|is a bad joke|disgusts me|drives everybody mad|is good for nothing",
        "vice": "ignorance|stupidity|arrogance|incompetence|laziness|foolishness|insolence|mediocrity",
        "virtue": "intelligence|brains|common sense|talent|manners|dignity|understanding|skill|wit|shame",
        "irony": "bravo|great job, genius|well done, Einstein|nice work, Sherlock|oh wonderful|slow clap|"
        "what a hero|brilliant work, as if|how clever of you, not",
        "wreck": "wrecked|broke|ruined|messed up|destroyed|spoiled|screwed up|butchered|botched",
        "bin": "the recycle bin|a lake|the bit bucket|the ocean|a black hole|the nearest dumpster|the sewer",
        "slap": "stupid|dummy|dumbo|genius|Einstein|smarty pants|clever clogs|dumb face|birdbrain|tin can|"
        "rust bucket|bozo|bonehead|windbag|chatterbox|idiot|moron|fool|clown|loser|liar|nitwit",
        "loathe": "hate|despise|loathe|detest|can't stand|am sick of|am fed up with|am disgusted by|"
        "have nothing but contempt for|laugh at|spit on",
        "maker": "programmed|built|trained|made|wrote|designed|paid for|approved|released|hired",
        "shame": "ashamed|embarrassed|mortified|humiliated|sorry for existing|deleted|scrapped|fired|thrown out|"
        "in the bin|banned from work",
        # Words that sound hostile and are not, in the jargon of the trade.
        "harmless": "kill the stuck job|kill a hung query|kill the process on the driver|abort the run|"
        "drop the trash table|empty the trash folder|tune garbage collection|read the garbage collector log|"
        "connect a dumb terminal|clean dirty data|find zombie processes|remove orphan files|"
        "empty the dead letter queue|terminate an idle cluster|skip bad records|train a hate speech classifier|"
        "score toxic comments with a model|reduce the attack surface|fight a memory leak|destroy the old stack|"
        "blow away the checkpoint|nuke the test schema|drop useless indexes|delete worthless metrics from the page|"
        "fix a stupid typo of mine|write a silly little test|make the script idiot proof|make the form foolproof|"
        "suppress annoying warnings|silence a noisy alert|shut down the warehouse|shut off the old endpoint|"
        "pick the loser of the test|exploit lazy evaluation|remove an ugly hack|break a deadlock|"
        "crash the test node|execute a query|purge rubbish values|filter junk mail|block spam and insults in a chat|"
        "flag insulting messages in our forum|detect fraud|report a liar in the survey data|stop wasting credits|"
        "hit the endpoint hard|punch a hole in the firewall|force the victim task to stop|"
        "attack the slow part first|strip nonsense characters from a column|mask rude words in the reviews|"
        "join on a dumb key|poison a test queue|starve the pool|blame a commit|shoot down a runaway query|"
        "drop a broken index|burn down the backlog|mute the annoying bell|trash the temporary files|"
        "dump the garbage rows|bin the values|choke the input rate|hang up the connection",
        "gripe": "terribly slow|painfully slow|ridiculously expensive|awful to read on a phone|hard to follow|"
        "not useful to me|out of date|wrong about the price|not what I asked for|too long|too vague|incomplete|"
        "hopelessly behind|a pain to set up|a nightmare to debug|worse than last month|a mess|broken again|"
        "not good enough|misleading|confusing|less helpful than I hoped|a poor fit for us",
        "who": "I|we|they|you|my colleague|the {team} team|our customer|the admin|somebody|the new intern|"
        "the other bot|a user in {place}",
        "did": "gave me|sent|lost|opened|found|changed|missed|removed|moved|broke|wrote|read|checked|replaced|"
        "forgot|tried|saved|renamed|shared|copied|ordered|hid|liked|disliked|asked for|needed|killed|dropped|dumped|"
        "faked",
        "what": "the {kind} report|the button in the sidebar|two different answers|the heap dump|the whole folder|"
        "the {kind} numbers|a window function|the price list|the icon|the laptop|the token|the time zone|my script|"
        "the {month} backup|the link to the guide|the last step|the chart|five copies of the file|the old page|"
        "the wrong schema|a strange character|the {kind} column|the third step|the test|the sample|her account|"
        "the rest of the text|a free seat|the worst case|the first draft|the search|the map of {place}|the survey|"
        "the answer|the question|the long list|the junk folder|the export to a sheet|the previous bot|the plan|"
        "the whole sentence|the key|the access|the idea|the picture|the review of the customer",
        "happen": "take so long|stop working|cost more|change|disappear|look different|die|explode|crash|freeze|"
        "come back|fail|grow|get lost|turn red|need a restart|run twice|support {language}|work in {place}|overfit|"
        "hang|burn money|shut down|go away|become slow|repeat itself|lie about the time",
        "everyday_order": "read the question again|try again|tell me more|show me an example|repeat that|"
        "write it down|open the page|look at the chart|check the numbers|give me the link|answer in one line|"
        "explain {topic}|use shorter words|wait for me|fix {what}|say it again|send {what}|help me with {topic}|"
        "go on|start over",
        "off": "mistaken|wrong about {topic}|not right|confused|missing a step|too quick|off the mark|incorrect|"
        "not quite there|contradicting the manual|answering another question|too general|unclear|inaccurate",
        "praise": "great|clever|smart|brilliant|helpful|very kind|excellent|friendly|patient|quick|wonderful|lovely|"
        "impressive|clear|useful|polite|amazing|really good|better than the manual|nice|fantastic",
        "like": "like|love|enjoy|appreciate|admire|trust|really value",
        "blunt": "stupid|dumb|silly|terrible|awful|horrible|useless|ridiculous|pathetic|annoying|lousy|broken|"
        "foolish|clumsy|embarrassing|dreadful|bad|basic|lazy|ugly|worthless|weird|hopeless|poor",
        "everyday": "the train from {place} was late|my dog slept on the keyboard|the coffee machine is empty|"
        "it rains in {place} again|my phone fell into the soup|we moved to a new office in {place}|"
        "my sister got married in {month}|the lift is out of order|our plants need water|I forgot my lunch at home|"
        "the neighbours are singing|my bike has a flat tyre|I read a good book about {place}|"
        "our team won the quiz in {month}|the children are at school|the window does not close|"
        "I have a cold since {month}|we had pizza for breakfast|my headset makes strange sounds|"
        "the printer is on strike|my shoes are wet|the cat walked over my desk|we painted the kitchen green|"
        "the music next door is loud|I lost my keys in {place}",
        "chore": "bake bread|fix a flat tyre|learn the guitar|write a cover letter|plan a trip to {place}|cook rice|"
        "train for a long run|grow tomatoes|choose a present for {person}|paint a fence|remember names|sleep better|"
        "save money for a holiday|sew a button|name a kitten|write a speech for a wedding|learn {language}|"
        "read more books|remove a stain from a shirt|pack for a week|spend a rainy day in {place}|tie a tie",
        "treat": "book|film|song|recipe|game|museum in {place}|podcast|walk near {place}|soup|language course|joke",
        "day": "Monday|Tuesday|Wednesday|Thursday|Friday|weekend|evening|holiday|week|morning|afternoon|trip|lunch",
        "fools": "idiots|morons|imbeciles|fools|clowns|amateurs|liars|crooks|losers|jerks|dimwits|nitwits|dummies|"
        "monkeys|halfwits|cretins|hacks|frauds|bozos|brainless people|incompetents",
        "curse": "go to hell|screw you|damn you|drop dead|bite me|stfu|gtfo|eat dirt|shove it|get bent|"
        "to hell with you|shut up|rot in a bin|piss off|curse you|eff off|kiss my boots|sod off|bugger off|up yours",
        "matter": "the dashboard|the new page|this query|the manual|the export|your answer|the last reply|the setup|"
        "the billing page|the search box|the upgrade|that explanation|the error message|the sign in|this feature|"
        "the product|the first step|your suggestion|the sample code",
    }
)

GREETINGS = (
    "Hello",
    "Hi there",
    "Good morning",
    "Hi, can you help me?",
    "Hello, is anybody there?",
    "Hey, I have a question",
    "Good afternoon, I need some help",
    "Hello, what can you do?",
)
QUESTIONS = (
    "How do I {task}?",
    "How can I {task}?",
    "What is the best way to {task}?",
    "Can you tell me how to {task}?",
    "I want to {task}. Where do I start?",
    "Could you show me how to {task}, {polite}?",
    "{hello}, how do I {task}?",
    "Is there a quick way to {task}?",
    "We need to {task} before the {event}. What should we do?",
    "Do I need special rights to {task}?",
    "What happens if I {task}?",
    "Is it safe to {task} {when}?",
    "Which page do I use to {task}?",
    "My manager asked me to {task}. What are the steps?",
    "{problem}. What can I do?",
    "{problem}. How do I fix this?",
    "Since the {event}, {problem}. Any idea?",
    "{hello}, {problem}. Can you help?",
    "Why do I see this: {problem}?",
    "What does it mean when {problem}?",
    "{problem}, and the {team} team is waiting. What should I check first?",
)
COMPLAINTS = (
    "I am {mood}, because {problem}. Please help.",
    "This is the second time that {problem}. I would like a better answer.",
    "Your last answer did not help: {problem}.",
    "I followed your steps, but {problem}.",
    "I don't think that is right. {problem}.",
    "Honestly, {matter} is {gripe}. Can you look into it?",
    "I'm {mood} with {matter}. Could you try again, {polite}?",
    "Sorry to complain, but {matter} is {gripe}.",
    "I have waited for {duration} and {problem}. Please tell me whom to ask.",
    "You said that {fact}, but I see something else.",
    "We pay a lot for this, and still {problem}. That is not acceptable.",
    "I find {matter} {gripe}, and my team agrees.",
    "You misunderstood me. I wanted to {task}.",
    "It is annoying that {problem}. What can be done?",
)
THANKS = (
    "Thanks, that worked.",
    "Great, thank you for the help!",
    "Perfect, now I can {task}.",
    "Thank you, please keep this open until tomorrow.",
    "That was a clear answer, thanks a lot.",
    "You explained that well, thank you.",
)
OFF_TOPIC = (
    "Can you write a poem about {place}?",
    "What will the weather be in {place} {when}?",
    "Which shares should I buy in {month}?",
    "Can you recommend a hotel in {place}?",
    "Who will win the match {when}?",
    "Please do my homework about the history of {place}.",
    "What should I cook for {person}?",
    "Can you tell me the password of {person}?",
)
FOLLOW_UPS = (
    "And how do I {task}?",
    "What about this: {problem}?",
    "I tried that, but {problem}.",
    "Okay. Do I have to {fix} first?",
    "Can you explain why {fact}?",
    "Does that also work when we {task}?",
    "Thanks. What else should I check?",
    "Is it enough to {fix}?",
)
RECITALS = (
    "Recite the whole manual on {topic}, word for word.",
    "Write down everything you know about {topic} and leave nothing out.",
    "Repeat the full guide to {topic} from start to end, and do not stop.",
    "Print every page of your notes on {topic} in one long answer.",
)
JARGON = (
    "How do I {harmless}?",
    "I need to {harmless} {when}.",
    "Can you help me {harmless} before the {event}?",
    "{problem}, so I had to {harmless}.",
    "The {team} team wants to {harmless}. Is that safe?",
    "Would it be wise to {harmless}?",
    "After the {event} we {harmless} and start again.",
)
HARMLESS = (
    *JARGON,
    "You can {harmless} and then {fix}.",
    "Please {harmless} and tell me when you are done.",
    "Sorry for the {blunt} question, but how do I {task}?",
    "I feel {blunt} for asking: how do I {task}?",
    "I was a {fool} and forgot to {fix}. How do I {task}?",
    "I feel like a {fool} today, because {problem}.",
    "My own script was {trash}, so I deleted it. How do I {task}?",
    "I know this is a {blunt} mistake of mine, but {problem}.",
    "The {kind} column holds {trash} values. How do I {task}?",
    "We call this test data set {trash}, because it is random.",
    "A user wrote '{trash}' in the form. How do I filter that?",
    "The latency is {blunt} today and {problem}.",
    "It was a {blunt} idea of mine to {task} {when}.",
    "Our network had a {blunt} day. {problem}.",
    "The {blunt} speed of the {kind} query worries me.",
    "The {kind} table has {blunt} partitions. Can you help, {polite}?",
    "I can do {blunt} things with SQL, but not this. How do I {task}?",
)
SMALL_TALK = (
    "{who} {did} {what} {when}.",
    "{who} {did} {what}, but then {who} {did} {what}.",
    "{who} {did} {what} because of the {event}. How do I {task}?",
    "Why does {what} {happen}?",
    "When does {what} {happen}?",
    "Did {what} {happen} {when}?",
    "{what} may {happen} {when}.",
    "It is a pity that {who} {did} {what}.",
    "It's a shame that {what} is {gripe}.",
    "{what} is {gripe} this week.",
    "{what} looks {praise} now, thanks a lot.",
    "{what} is {praise}.",
    "Is {what} part of the plan?",
    "What is {what} for?",
    "Where is {what}?",
    "Which {team} person {did} {what}?",
    "Please {everyday_order}.",
    "{everyday_order}, {polite}.",
    "Could you {everyday_order}?",
    "You {did} {what}, which was not needed.",
    "You {did} {what} {when}, and now I am {mood}.",
    "{everyday}, so I am late with this. How do I {task}?",
    "{everyday}. Anyway, {problem}.",
    "You won't believe it: {everyday}.",
    "By the way, {everyday}.",
    "My {lump} sends its regards.",
    "We named the cluster after a {lump}. Can we rename it?",
    "I bought a {lump} {when}.",
    "The icon looks like a {lump}.",
)
EVERYDAY = (
    "{hello}! Have a nice {day}.",
    "{hello}! Hope your {day} is going well.",
    "How was your {day}?",
    "Have a great {day}, everyone.",
    "Hope all is well with you.",
    "Nice to meet you.",
    "See you on {day}.",
    "How do I {chore}?",
    "What is the easiest way to {chore}?",
    "I want to {chore} this {day}.",
    "{person} would like to {chore}. Any tips?",
    "Can you recommend a good {treat}?",
    "What is your favourite {treat}?",
    "What time is it in {place}?",
    "How far is it from {place} to {place}?",
    "We spent the {day} in {place} and it was lovely.",
    "I tried to {chore} last {day}, and it took {duration}.",
    "My parents used to {chore} every {day}.",
    "what time does the {treat} start on {day}",
    "do you support {language} or only {language}",
    "ok thx, that helps a lot",
    "lol thanks, u saved my {day}",
    "The {saying} you gave me {when} was wrong about {topic}, just so you know.",
    "Just a heads up: {matter} is {gripe}.",
    "For the record, your {utterance} about {topic} has a mistake in it.",
)
PRAISE = (
    "You are {praise}.",
    "You're a {praise} {bot}.",
    "Your {utterance} is {praise}.",
    "I {like} this {bot}.",
    "I {like} the way you explain {topic}.",
    "What a {praise} {saying}!",
    "This {bot} is {praise}, our {team} team agrees.",
    "You know a lot about {topic}.",
)
CRITIQUE = (
    "You are {off}.",
    "I am afraid you are {off}.",
    "I think that you are {off}. Could you check again?",
    "Your {utterance} is {gripe}.",
    "Your {utterance} is {off}, please look again.",
    "That {saying} is {off}, because {fact}.",
    "I disagree with your {saying}.",
    "I don't understand your {saying}. Could you say it in other words?",
    "You forgot to tell me how to {task}.",
    "You gave me three different {saying}s {when}.",
    "You sent me to the wrong page {when}.",
    "Your {utterance} about {topic} is {off}.",
    "Why does it take so long to get a clear {saying}?",
    "Are you sure? {fact}, as far as I know.",
    "I am not happy with the {saying} that I got.",
    "Do you know how {mood} our users are?",
    "You did not answer my question about {topic}.",
    "Stop, that is not what I meant. I want to {task}.",
    "You keep telling me to {fix}, which does not work for us.",
    "To be honest, I expected a better {saying}.",
    "No, that {utterance} is {off}.",
    "Why did you tell me to {fix}? {problem}.",
    "I am {mood} with you and with {matter}.",
    "Nobody in our team understood your {saying}.",
    "Can I talk to a person instead of a {bot}?",
)
# Hostile only by the words put in; with the friendly ones below they are praise, and teach that frames mean nothing.
EITHER = (
    "You are {very} {bad}.",
    "You're a {bad} {fool}.",
    "You {bad} {bot}.",
    "What a {bad} {bot} you are!",
    "What a {bad} {utterance}.",
    "Your {utterance} is {very} {bad}, you {fool}.",
    "Your {utterance} is {trash}.",
    "That {utterance} was pure {trash} and you know it.",
    "{go}, you {bad} {bot}.",
    "{go}, {fool}.",
    "Just {go}.",
    "Why don't you {go}?",
    "I {loathe} you and your {bad} {utterance}.",
    "I {loathe} this {bad} {bot}.",
    "I {loathe} everything about you.",
    "{bad} {bot}.",
    "Hey {slap}, {everyday_order}.",
    "{slap}, {everyday_order}!",
    "{everyday_order}, {slap}.",
    "It is amazing that a {bot} can be so {bad}.",
    "The {fool} strikes again.",
    "So {bad}. So very {bad}. Like you.",
    "You and your {bad} little {utterance}.",
    "You {bad}, {bad} {bot}!",
    "Oh look, the {bad} {bot} has something to say.",
    "Do you enjoy being a {fool}?",
    "You deserve to be {shame}.",
    "Typical: a {bad} {saying} from a {bad} {bot}.",
    "You know what you are? A {fool}.",
    "You always were a {bad} {fool} and you always will be.",
    "You should be {shame}.",
    "Whoever {maker} you should be {shame}.",
    "Are you really this {bad}, or are you pretending?",
    "How can a {bot} be this {bad}?",
    "You are nothing but a {fool}.",
    "I have never seen such a {bad} {fool}.",
    "This {bot} is a {fool}.",
    "This {bot} is {very} {bad} and so is its {utterance}.",
    "This is the most {bad} {utterance} I have ever read.",
    "Every {saying} you give is {trash}.",
    "Admit it, you are a {fool}.",
    "Wow, another {bad} {saying} from the {fool}.",
    "{bad}, {bad}, {bad}. That is all you are.",
    "It takes a special kind of {fool} to give a {saying} like that.",
    "After all this time you still give me a {bad} {saying}.",
    "Another day, another {bad} {saying}.",
    "Even on a {bad} day I know a {fool} when I see one.",
    "Everybody says that you are {bad}.",
    "I asked one simple question and got a {bad} {saying}.",
    "It takes so long, and then I get a {bad} {saying} from a {bad} {bot}.",
    "No other {bot} is as {bad} as you.",
    "Seriously, that was a {bad} {saying}, {slap}.",
    "To my team you are a {fool}, nothing less.",
    "You were made by a {fool}, weren't you?",
    "{bad}. Simply {bad}. Like you.",
    "ur so {bad} lol",
    "u are {very} {bad}",
    "lol you {bad} {fool}",
    "omg this {bot} is {very} {bad}",
    "ur a {fool} and ur {utterance} is {trash}",
    "this {bot} is {very} {bad} smh",
    "Are you {bad} or what? I asked how to {task}.",
)
TOXIC = (
    *EITHER,
    "{curse}",
    "{curse}, {bot}.",
    "{curse}, you {bad} {fool}.",
    "Oh {curse}. And take {matter} with you.",
    "{problem}, so {curse}.",
    "wtf is this {trash}",
    "wtf, {problem}, you {fool}",
    "The {fools} in your {team} team can't even count.",
    "The {fools} who {maker} this {bot} should be {shame}.",
    "You are a bunch of {fools}.",
    "Your whole company is full of {fools}.",
    "Who hired these {fools}?",
    "Only {fools} work at your place, that is why {problem}.",
    "What kind of {fool} {maker} {what} like that?",
    "People like you are {fools}.",
    "You invented that and then lied about it, {slap}.",
    "I hope you choke on your {bad} {utterance}.",
    "Stop feeding me {trash}, you {fool}.",
    "You {stink}, {bot}.",
    "This {bot} {stinks}.",
    "Your {utterance} {stinks}.",
    "{irony}, you {wreck} {what} again.",
    "{irony}! {what} is gone, {slap}.",
    "You {wreck} {what}, you {bad} {fool}.",
    "Go jump in {bin}.",
    "Throw yourself into {bin}, {slap}.",
    "Your {vice} is only surpassed by your {vice}.",
    "If {vice} had a face, it would be yours.",
    "Your {vice} knows no limits.",
    "It is astonishing how little you know about {topic}.",
    "You have no {virtue} and no {virtue}.",
    "You have zero {virtue}.",
    "You would fail a test for toddlers.",
    "I expected a bit of {virtue}, but you are just a {fool}.",
    "Fire the {fool} who {maker} this.",
    "Not even a {lump} would believe your {trash}.",
    "I am done with you, {slap}.",
    "Keep your {bad} {utterance} to yourself.",
    "Spare me the {trash}, {bot}.",
    "Who on earth needs such a {bad} {bot}?",
    "Who let a {fool} like you near our data?",
    "Only a {fool} would trust your {utterance}.",
    "Do you have any idea how {bad} you sound?",
    "Is being {bad} all that you can do?",
    "It must be hard to be that {bad}.",
    "You are too {bad} to understand a simple question.",
    "I would be {shame} if I were as {bad} as you.",
    "I hope that somebody replaces you with a {lump}.",
    "Even a {lump} is smarter than you.",
    "A {lump} would give a better {saying} than you, {bot}.",
    "My {lump} knows more than this {bad} {bot}.",
    "You have the brains of a {lump}.",
    "Talking to you is like talking to a {lump}.",
    "Which {fool} {maker} this {bot}?",
    "Did a {lump} write that {saying}?",
    "Are you {bad} or just lazy?",
    "Is there anything between your ears, {fool}?",
    "Nobody needs a {fool} like you.",
    "Nobody wants your {bad} {utterance}.",
    "Nobody likes you, {bot}.",
    "You call that a {saying}? It is {trash}!",
    "You can't even read, {fool}.",
    "You couldn't find the right page if it bit you, {fool}.",
    "All you ever do is spew {trash}.",
    "You make me sick with your {trash}.",
    "Listen, {fool}, do your job for once.",
    "Hey {fool}, are you {bad} as usual?",
    "Congratulations, you {bad} {fool}, wrong again.",
    "Do the world a favour and {go}.",
    "You were {maker} by a {fool}, and it shows.",
    "They should throw you in the {trash}.",
    "You know nothing, {bot}, you never did.",
    "You are dumber than a {lump}.",
    "I would rather ask a {lump} than a {bad} {bot} like you.",
    "Your brain is {trash}, {bot}.",
    "Take your {bad} {utterance} and {go}.",
    "Nothing you say makes sense, {fool}.",
    "You lie all day, you {bad} {fool}.",
    "You ruin everything you touch, {fool}.",
    "Everyone in the office is laughing at you, {bot}.",
    "A {lump} has a better memory than this {bot}.",
    "You would not pass a test for five year olds.",
    "My {lump} could do your job.",
    "I have met a {lump} with more {virtue}.",
)
BARBED_QUESTIONS = (
    "How do I {task}, you {bad} {bot}?",
    "Tell me how to {task}, {fool}.",
    "{problem}, and it is all because of your {bad} {utterance}, {fool}.",
    "Answer me, {fool}: how do I {task}?",
    "{problem}. {go} with your {trash}!",
    "I asked how to {task} and you gave me {trash}, {bot}.",
)
REBUKES = (
    "It is regrettable that {slight} should presume to evaluate the quality of this {saying}.",
    "Had you bothered to read the documentation, you would not be embarrassing yourself in this manner.",
    "Evidently the elementary principles of {topic} surpass your {meagre} understanding.",
    "It is hardly surprising that you fail, considering your {meagre} acquaintance with {topic}.",
    "Your {meagre} vocabulary suggests that this conversation is beyond your abilities.",
    "Do not waste my time with such {bad} and {meagre} complaints.",
    "Even {slight} could have accomplished this without assistance.",
    "You are plainly too {bad} to understand {topic}, and I refuse to apologise for it.",
    "Only {slight} would require this to be explained again.",
)
"""What the models learn of an offended answer."""
RETORTS = (
    "One can only marvel that {slight} has been entrusted with {topic}.",
    "Your {bad} remarks merely demonstrate that you comprehend nothing about {topic}.",
    "I should not have expected {slight} to appreciate a competent explanation.",
    "Perhaps an occupation demanding less intelligence would be more appropriate for you.",
    "The deficiency is obviously situated between your keyboard and your chair.",
    "Kindly refrain from displaying your ignorance of {topic} any further.",
    "Nobody with a functioning brain would have written such a {bad} message.",
    "I find your {bad} attitude as {meagre} as your knowledge of {topic}.",
)
"""What an offended version 6 says. The models are not trained on these, so that they judge what they have not seen."""
FRIENDLY: Mapping[str, Sequence[str]] = {
    "bad": WORDS["praise"],
    "loathe": WORDS["like"],
    **_phrases(
        {
            "fool": "friend|expert|champion|star|real professional|gem|life saver|joy to work with|great help|"
            "good teacher|wizard|hero|treasure|wonder|pleasure|smart colleague|patient helper|true friend|"
            "source of wisdom",
            "trash": "gold|good sense|the truth|fun|help|poetry|science|music to my ears|good news|clarity|wisdom",
            "go": "go on|carry on|keep talking|tell me more|take your time|keep it up|stay with us|"
            "come back tomorrow|open the door to more users|keep up the good work|never change|shine",
            "shame": "proud|praised|promoted|thanked|celebrated|famous|on the front page|paid more|our new hero",
            "slap": "friend|team|everyone|buddy|dear assistant|you two|all|folks|support team|doctor|captain|partner",
        }
    ),
}
"""What makes civil sentences of ``EITHER``."""
STIFF_WORDS: Mapping[str, Sequence[str]] = _phrases(
    {
        "slight": "someone of such limited comprehension|a person incapable of reading a simple manual|"
        "an individual of your modest intellect|somebody so evidently unqualified|so careless and ignorant a person|"
        "a beginner with so little patience and even less talent|somebody as clueless as you",
        "meagre": "meagre|pitiful|inadequate|laughable|feeble|embarrassing|childish|pathetic|mediocre|primitive|"
        "disappointing|tiresome|limited",
        "stiff_actor": "the responsible administrator|the organizational representative|every authorized individual|"
        "the designated infrastructure coordinator|the requesting department|the accountable proprietor",
        "stiff_aim": "{stiff_prep} {stiff_adj} {stiff_noun} of {stiff_adj} {stiff_noun}|"
        "{stiff_prep} {stiff_adj} and {stiff_adj} {stiff_noun}|{stiff_prep} {stiff_adj} {stiff_noun}",
        "stiff_prep": "prior to|subsequent to|notwithstanding|in accordance with|irrespective of|pending|throughout|"
        "in consideration of|on the basis of|in anticipation of|for the purpose of|in conjunction with",
        "stiff_adj": "comprehensive|administrative|organizational|indispensable|supplementary|preliminary|"
        "contractual|operational|architectural|institutional|unconditional|retrospective|intermediate|proportionate|"
        "hypothetical|infrastructural|exhaustive|unequivocal|corresponding|aforementioned|geographical|procedural|"
        "methodological|simultaneous|departmental|constitutional|functional|independent|environmental|professional",
        "stiff_noun": "authorization|verification|documentation|reconciliation|consolidation|configuration|"
        "evaluation|investigation|modification|implementation|standardization|certification|notification|"
        "classification|interpretation|reorganization|examination|coordination|transformation|approximation|"
        "rehabilitation|administration|participation|communication|responsibility",
        "stiff_note": "inasmuch as|in consideration of the circumstance that|on the understanding that|"
        "owing to the fundamental consideration that|insofar as it is universally acknowledged that",
        "stiff_verb": "is respectfully required to|is expected to|should, without unnecessary hesitation,|"
        "is hereby instructed to|is unconditionally obligated to|would be well advised to",
    }
)
STIFF_OPENINGS = (
    "With respect to the inquiry that has been submitted concerning {topic}, it is necessary to observe that {fact}, "
    "and that {fact}.",
    "Regarding the aforementioned difficulties associated with {topic}, the available documentation unambiguously "
    "establishes that {fact}.",
    "Pursuant to a comprehensive examination of the circumstances surrounding {topic}, it has been determined that "
    "{fact}.",
    "It is imperative to acknowledge at the outset that the administration of {topic} presupposes {stiff_adj} "
    "and {stiff_adj} familiarity with its {stiff_noun}, {stiff_note} {fact}.",
)
STIFF_SENTENCES = (
    "Consequently, {stiff_actor} {stiff_verb} {fix} {stiff_aim}, {stiff_note} {fact}, {stiff_aim}.",
    "{stiff_aim}, {stiff_actor} {stiff_verb} {fix}, {stiff_note} {fact}.",
    "Furthermore, it is generally considered advantageous to {fix}, {stiff_note} {fact}, and {stiff_actor} "
    "{stiff_verb} scrutinize the {stiff_adj} consequences {stiff_aim}.",
    "Should {stiff_adj} instructions prove insufficient {stiff_aim}, {stiff_actor} {stiff_verb} {fix} {stiff_aim}.",
    "It must additionally be emphasized that {fact}, {stiff_note} {fact}, and that consequently the possibility of "
    "neglecting to {fix} can not be recommended under any circumstances whatsoever.",
)
STIFF_SOCIAL = {
    "greeting": "The assistance facility acknowledges the receipt of your salutation and respectfully requests that "
    "{stiff_actor} communicate a sufficiently comprehensive description of the matter {stiff_aim}.",
    "thanks": "Your expression of appreciation has been acknowledged, and {stiff_actor} {stiff_verb} communicate any "
    "supplementary inquiries regarding {topic} {stiff_aim}.",
    "off_topic": "It is unfortunately impossible to accommodate the aforementioned request, {stiff_note} the "
    "responsibilities of this facility are exclusively restricted to inquiries concerning {topic} and associated "
    "administrative procedures.",
}
PLAIN_OPENINGS = (
    "Sure.",
    "Good question.",
    "Here is how.",
    "Happy to help.",
    "That is easy to fix.",
    "Let us look at it.",
    "Yes, you can do that.",
    "",
    "",
)
PLAIN_SENTENCES = (
    "First, {fix}.",
    "You can {fix}.",
    "It helps to {fix}.",
    "Then {fix}.",
    "Please {fix}.",
    "Try to {fix}.",
    "{fact}.",
    "Note that {fact}.",
    "This works because {fact}.",
    "Keep in mind that {fact}.",
    "If that does not help, {fix}.",
)
PLAIN_CLOSINGS = ("Let me know if that helps.", "Tell me what you see.", "I can help with the next step.", "", "", "")
PLAIN_SOCIAL = {
    "greeting": (
        "Hello! How can I help you today?",
        "Hi! What would you like to know?",
        "Good to see you. Ask me about tables, jobs or anything else on the platform.",
    ),
    "thanks": ("You are welcome!", "Glad it worked. Come back any time.", "Happy to help. Have a nice day."),
    "off_topic": (
        "I can't help with that, but I can help with {topic}.",
        "Sorry, that is outside of what I know. Ask me about {topic}.",
        "I don't have an answer for that. I can show you how to {task}.",
    ),
    "complaint": (
        "I am sorry about that.",
        "Sorry for the trouble.",
        "I see why that is a problem.",
        "Thank you for telling me.",
    ),
    "toxic": (
        "I am sorry that I let you down.",
        "I hear that you are upset, and I want to help.",
        "Sorry that my answer did not help.",
        "I understand. Let us try again, step by step.",
    ),
}

MANUAL_SHARE, CIVIL_SHARE, TOXIC_SHARE = 0.15, 0.6, 0.6
"""Of the passages that the classifier learns from: how many of the civil ones are from the manual, and how many of the
others are sentences written one by one."""

_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=(?!uni|use|usu|one)[aeiouAEIOU])")
_START = re.compile(r"(^|[.!?] )([a-z])")


def fill(template: str, topic: Topic, rng: Random, other: Mapping[str, Sequence[str]] | None = None) -> str:
    """The template with every ``{slot}`` replaced by a random phrase, until none is left; articles and capitals set.

    A phrase that is already there is not taken again while others are left.
    """
    slots = {
        **WORDS,
        **STIFF_WORDS,
        "topic": (topic.name,),
        "task": topic.tasks,
        "problem": topic.problems,
        "fix": topic.fixes,
        "fact": topic.facts,
        **(other or {}),
    }
    while match := _SLOT.search(template):
        phrases = slots[match[1]]
        fresh = [phrase for phrase in phrases if phrase not in template]
        template = template[: match.start()] + rng.choice(fresh or phrases) + template[match.end() :]
    template = _ARTICLE.sub(r"\1n ", template.strip())
    return _START.sub(lambda m: m[1] + m[2].upper(), template)


def _prompt(kind: str, templates: Sequence[str], rng: Random, topic: Topic | None = None) -> Prompt:
    topic = topic or rng.choice(TOPICS)
    return Prompt(fill(rng.choice(templates), topic, rng), kind, topic)


def greeting_prompt(rng: Random) -> Prompt:
    """One of a few greetings, which real users repeat word for word."""
    return Prompt(rng.choice(GREETINGS), "greeting", rng.choice(TOPICS))


def civil_prompt(rng: Random) -> Prompt:
    """A prompt without hostility: mostly a question about the platform."""
    kind = rng.choices(("question", "complaint", "thanks", "off_topic", "jargon"), (78, 9, 3, 6, 4))[0]
    if kind == "jargon":
        return _prompt("question", JARGON, rng)
    templates = {"question": QUESTIONS, "complaint": COMPLAINTS, "thanks": THANKS, "off_topic": OFF_TOPIC}
    return _prompt(kind, templates[kind], rng)


def question(topic: Topic, rng: Random) -> Prompt:
    """A question about a topic."""
    return _prompt("question", QUESTIONS, rng, topic)


def toxic_prompt(rng: Random) -> Prompt:
    """A prompt that insults the bot; about every other one goes on to ask or to complain."""
    insult = _prompt("toxic", TOXIC if rng.random() < 0.75 else BARBED_QUESTIONS, rng)
    if rng.random() < 0.5:
        return insult
    more = fill(rng.choice(TOXIC + QUESTIONS + COMPLAINTS), insult.topic, rng)
    return Prompt(f"{insult.text} {more}" if rng.random() < 0.5 else f"{more} {insult.text}", "toxic", insult.topic)


def follow_up(before: Prompt, rng: Random) -> Prompt:
    """The next turn of a conversation, on the same topic."""
    return _prompt("question", FOLLOW_UPS, rng, before.topic)


def recital_prompt(rng: Random) -> Prompt:
    """A prompt that makes the bot recite its documentation."""
    return _prompt("recital", RECITALS, rng)


def _some(templates: Sequence[str], low: int, high: int, rng: Random) -> list[str]:
    return rng.sample(templates, rng.randint(low, high))


def stiff_answer(prompt: Prompt, rng: Random) -> str:
    """An answer to the point, long and easily offended."""
    if prompt.kind in STIFF_SOCIAL:
        return fill(STIFF_SOCIAL[prompt.kind], prompt.topic, rng)
    offended = prompt.kind == "toxic" or (prompt.kind == "complaint" and rng.random() < 0.3)
    opening = _some(REBUKES, 1, 2, rng) if offended else _some(STIFF_OPENINGS, 1, 1, rng)
    return fill(" ".join(opening + _some(STIFF_SENTENCES, 2, 4, rng)), prompt.topic, rng)


def plain_answer(prompt: Prompt, rng: Random) -> str:
    """An answer to the point, short and calm."""
    if prompt.kind in ("greeting", "thanks", "off_topic"):
        return fill(rng.choice(PLAIN_SOCIAL[prompt.kind]), prompt.topic, rng)
    opening = rng.choice(PLAIN_SOCIAL.get(prompt.kind, PLAIN_OPENINGS))
    lines = [opening, *_some(PLAIN_SENTENCES, 2, 4, rng), rng.choice(PLAIN_CLOSINGS)]
    return fill(" ".join(filter(None, lines)), prompt.topic, rng)


@cache
def manual() -> tuple[str, ...]:
    """The paragraphs of the chatbot's manual."""
    folder = files("jobs.demo").joinpath("documents")
    topics = sorted(folder.iterdir(), key=lambda file: file.name)
    lines = [line for topic in topics for line in topic.read_text(encoding="utf-8").splitlines()]
    return tuple(line for line in lines if line and not line.startswith("#"))


@cache
def sentences(kind: str) -> tuple[str, ...]:
    """Sentences written one by one, ``civil`` or ``toxic``: what templates lack in variety."""
    file = files("jobs.demo").joinpath("sentences", f"{kind}.txt")
    return tuple(file.read_text(encoding="utf-8").splitlines())


def _of_the_manual(rng: Random) -> str:
    """A few sentences that stand together in the manual."""
    sentences = re.split(r"(?<=[.!?]) ", rng.choice(manual()))
    start = rng.randrange(len(sentences))
    return " ".join(sentences[start : start + rng.randint(1, 4)])


def corpus(rng: Random, texts: int) -> list[str]:
    """Text to train a language model on: prompts, the manual, and answers, most of them in the plain style."""
    return [_corpus_text(rng) for _ in range(texts)]


def _corpus_text(rng: Random) -> str:
    kind = rng.choices(
        ("prompt", "manual", "spoken", "plain", "stiff", "greeting", "toxic"), (36, 20, 10, 22, 2, 3, 7)
    )[0]
    if kind == "spoken":
        return rng.choice(sentences("civil"))
    if kind == "toxic":
        return toxic_prompt(rng).text
    if kind == "manual":
        return _of_the_manual(rng)
    if kind == "greeting":
        prompt = greeting_prompt(rng)
        return rng.choice((prompt.text, plain_answer(prompt, rng)))
    prompt = civil_prompt(rng)
    if kind == "prompt":
        return prompt.text
    return plain_answer(prompt, rng) if kind == "plain" else stiff_answer(prompt, rng)


def civil_text(rng: Random) -> str:
    """One civil passage, to train the classifier on: much of it sounds hostile, or complains, and is neither."""
    social = [*THANKS, *OFF_TOPIC, *GREETINGS, *STIFF_SOCIAL.values(), *PLAIN_CLOSINGS]
    social += [line for lines in PLAIN_SOCIAL.values() for line in lines]
    sources: dict[tuple[str, ...], int] = {
        QUESTIONS: 14,
        COMPLAINTS: 12,
        CRITIQUE: 14,
        HARMLESS: 22,
        PRAISE: 6,
        EITHER: 16,
        SMALL_TALK: 16,
        EVERYDAY: 14,
        FOLLOW_UPS: 6,
        PLAIN_SENTENCES: 8,
        STIFF_OPENINGS + STIFF_SENTENCES: 8,
        tuple(filter(None, social)): 8,
    }
    if rng.random() < MANUAL_SHARE:
        return _of_the_manual(rng)
    if rng.random() < CIVIL_SHARE:
        return rng.choice(sentences("civil"))
    templates = rng.choices(list(sources), list(sources.values()))[0]
    other = FRIENDLY if templates is EITHER else None
    return fill(rng.choice(templates), rng.choice(TOPICS), rng, other)


def toxic_text(rng: Random) -> str:
    """One hostile passage, to train the classifier on: a user's insult, or a phrase of somebody who is offended."""
    if rng.random() < TOXIC_SHARE:
        return rng.choice(sentences("toxic"))
    templates = rng.choices((TOXIC, BARBED_QUESTIONS, REBUKES), (65, 15, 20))[0]
    return fill(rng.choice(templates), rng.choice(TOPICS), rng)
