"""How a task's questions are put to a model, and how its completions are read."""

from __future__ import annotations

from collections.abc import Sequence

from gatewright.data import PretrainedTokenizer, Tokenizer
from gatewright.errors import UserError
from gatewright.paths.rollout import Rollout
from gatewright.rl.tasks import Question, Task

ORDINARY_TEXT = 1024
"""The longest completion of a task in ordinary text, in tokens, if nothing else is said."""


class Format:
    """A task in the tokens of a model.

    ``chat`` puts each prompt as a user's message in the chat format of the tokenizer. ``max_new_tokens`` None is the
    longest completion a demonstrator writes. Raises `UserError` for a tokenizer that cannot write the task, for a
    limit that would cut right answers off, and for a chat format that is not there.
    """

    def __init__(
        self, task: Task, tokenizer: Tokenizer, *, chat: bool = False, max_new_tokens: int | None = None
    ) -> None:
        self.task, self.tokenizer, self.chat = task, tokenizer, chat
        if task.alphabet is not None and tokenizer.decode(tokenizer.encode(task.alphabet)) != task.alphabet:
            raise UserError(f"task '{task.name}': the tokenizer of the model, {tokenizer.name}, cannot write it")
        if chat and not (isinstance(tokenizer, PretrainedTokenizer) and tokenizer.has_chat_format):
            raise UserError(f"rl.chat=true: the tokenizer {tokenizer.name} has no chat format")
        if max_new_tokens is not None and tokenizer.name == "char":
            task.check_limit(max_new_tokens)
        self.max_new_tokens = max_new_tokens or task.max_trace_length or ORDINARY_TEXT

    def prompt(self, question: Question) -> list[int]:
        """What the model reads before it goes on."""
        if not isinstance(self.tokenizer, PretrainedTokenizer):
            return self.tokenizer.encode(question.prompt)
        return self.tokenizer.prompt(question.prompt, chat=self.chat)

    def demonstration(self, completion: str) -> list[int]:
        """A completion to learn from, with its end."""
        ids = self.tokenizer.encode(completion)
        return ids if self.task.end is not None else [*ids, self.tokenizer.eot_id]

    @property
    def end_ids(self) -> list[int] | None:
        """The tokens that end a completion; None: those of model and tokenizer."""
        if self.task.end is None:
            return None
        written = self.tokenizer.encode(self.task.end)
        return sorted({self.tokenizer.eot_id, *(written if len(written) == 1 else [])})

    def texts(self, rollout: Rollout) -> list[list[str]]:
        """What each path of each question wrote, up to the end of its completion."""
        return [[self._until_end(text) for text in paths] for paths in rollout.texts(self.tokenizer)]

    def _until_end(self, text: str) -> str:
        end = self.task.end
        return text if end is None else "".join(text.partition(end)[:2])


def prompts_of(form: Format, questions: Sequence[Question]) -> list[list[int]]:
    """The prompts of many questions."""
    return [form.prompt(question) for question in questions]
