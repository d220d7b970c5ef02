"""The demo: a support chatbot in small, its registry, its month of traffic and its scorers.

documents/ → chatbot → registry (versions 1 to 7) → traffic (an inference table) → monitor, which scores it with models.
"""
