"""What other programs have made, read without executing any of it. A new format is a file here."""
