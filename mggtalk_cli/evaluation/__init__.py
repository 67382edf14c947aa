"""Measure the tool on material whose answer is known.

`metrics` knows numbers and pictures only, `networks` what needs weights. A protocol (`reenact`,
`cross`, `audio`, `noise`, `views`, `identity`, `ablation`) says how one source is measured, running
the pipeline as a user would; `runs` measures all of them and writes a `report`, which `compare`
sets against another.
"""
