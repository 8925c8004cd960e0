"""Pure decisions: no loop, clock, socket or log. Chance is an argument."""
