"""The equations: pure functions of tensors, no modules, no state (THEORY 1-5)."""
