"""Measure the tool on material whose answer is known.

`metrics` and `baselines` know numbers and pictures only. The protocols (`reenact`, `speech`,
`identity`, `views`) run the pipeline as a user would and score what comes out; each returns frozen
dataclasses, which `mggtalk evaluate` prints as a table or as JSON.
"""
