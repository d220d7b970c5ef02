"""The I/O: one file per table-to-table hop.

job                reads                         writes
score_responses    inference table               scores, quarantine, feedback, batches
forget             scores, quarantine, feedback  the same without a person's rows; forgotten
aggregate_windows  scores                        profile_metrics
sync_registry      MLflow registry               model_versions
dashboard          profile_metrics, batches,     page
                   model_versions
version            model_versions,               nothing; prints a version's card
                   profile_metrics
monitor            the hops above, at each trigger
reconcile          all of them                   nothing; proves the account
doctor             all of them                   nothing; says what is wrong before a run
demo               nothing                       a chatbot, its registry and a month of its traffic, then monitor
"""
