"""How questions in ordinary words are put."""

from __future__ import annotations

NUMBER = "{}\n\nThink step by step. Then write #### and the number that is the answer.\n\n"
EXPRESSION = "{}\n\nThink step by step. Then write #### and the answer, in LaTeX where it needs symbols.\n\n"
LETTER = "{}\n\nThink step by step. Then write #### and the letter of the answer.\n\n"
WORDS = "{}\n\nThink step by step. Then write #### and the answer, in a few words.\n\n"
