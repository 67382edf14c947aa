"""Training: clips of people who talk -> the mouth network that ships.

`clips` names speakers, `tracking` and `sound` turn a clip into curves and features (cached),
`examples` corrects offsets and normalises, `loss` and `mouth` train and measure, `model_card`
says what came out. Everything is seeded; nothing depends on the order in which clips finish.
"""
