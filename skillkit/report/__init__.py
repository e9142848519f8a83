"""What a person reads: figures (plots) and the card of a skill (card)."""
