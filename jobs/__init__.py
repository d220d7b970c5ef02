"""The I/O: one file per table-to-table hop.

job                reads                         writes
score_responses    inference table               scores, quarantine, batches
aggregate_windows  scores                        profile_metrics
dashboard          profile_metrics, batches      page
monitor            the hops above, at each trigger
reconcile          all of them                   nothing; proves the account
demo               nothing                       small models, a month of traffic, then monitor
"""
