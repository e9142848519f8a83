"""Composing skills: who may be composed and how (`rules`), what is lost by it (`bounds`, and
estimated from replay: `estimates`).

`rules` needs no torch, so a refusal costs no import; that is why nothing is re-exported here.
"""
