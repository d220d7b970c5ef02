"""What a person looks at: ``figures`` (profile_metrics → plotly), ``page`` (figures → one HTML file)."""
