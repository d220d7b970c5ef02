"""Commands, and the I/O that they are made of.

A file directly in this folder is a command; ``cli`` finds it by its docstring:

command            reads                         writes
score_responses    inference table               scores, quarantine, feedback, batches
aggregate_windows  scores                        profile_metrics
dashboard          profile_metrics, batches,     page
                   model_versions
sync_registry      MLflow registry               model_versions
monitor            the four above but the last, at each trigger
rescore            inference table, scores       scores
forget             scores, quarantine, feedback  the same without a person's rows; forgotten
range_metrics      profile_metrics               nothing; prints any range of time
version            model_versions,               nothing; prints a version's card
                   profile_metrics
reconcile          all of them                   nothing; proves the account
doctor             all of them                   nothing; says what is wrong before a run
demo.command       nothing                       a chatbot, its registry and a month of its traffic, then monitor

What they are made of lies in folders. Imports go downwards only (``make check`` holds it):

commands
scoring, windows   the insides of the two hops
upkeep             retention and compaction
source, services   what we read, and whom we ask
store              Delta
command            how a command begins and ends
"""
