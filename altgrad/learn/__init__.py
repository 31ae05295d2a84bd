"""The workshop: write your own GPT, unit by unit, and know at once what is wrong and why."""
