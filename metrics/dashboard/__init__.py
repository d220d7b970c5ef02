"""What a person looks at.

``sentence`` (profile_metrics → what changed and what stands out), ``figures`` and ``service`` (profile_metrics →
plotly; ``drawing`` is how), ``page`` (all of them → one HTML file).
"""
