"""Arithmetic expressions that must use given numbers and reach a target; read as a tree, never executed."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

from gatewright.rl.rewards.base import AnswerReward

_ALLOWED = re.compile(r"[0-9+\-*/() ]{1,100}")
_SPELLINGS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})


class ExpressionReward(AnswerReward):
    """1 if the expression after the delimiter uses each of ``numbers`` exactly once and equals ``target``.

    ``+``, ``-``, ``*``, ``/`` (exact) and parentheses count; a ``= target`` after the expression is allowed, and not
    believed. Leading zeros do not matter.
    """

    def read(self, text: str) -> Fraction | None:
        """The value of the expression, whatever numbers it uses."""
        found = evaluate(text)
        return None if found is None else found[0]

    def score(self, completion: str, numbers: Sequence[int], target: int) -> float:
        _, _, text = completion.partition(self.delimiter)
        if self.extract(completion) is None:
            return 0.0
        found = evaluate(text)
        return float(found is not None and found[0] == target and Counter(found[1]) == Counter(numbers))


def evaluate(text: str) -> tuple[Fraction, list[int]] | None:
    """Value and numbers of an expression; None for anything that is not one, and for a division by 0."""
    text = text.translate(_SPELLINGS).split("=")[0].strip().removesuffix("$").strip()
    if not _ALLOWED.fullmatch(text):
        return None
    try:
        tree = ast.parse(re.sub(r"(?<![0-9])0+(?=[0-9])", "", text), mode="eval")
        numbers: list[int] = []
        return _value(tree.body, numbers), numbers
    except (SyntaxError, ZeroDivisionError, _NotAllowedError):
        return None


class _NotAllowedError(Exception):
    """Something that is Python, but no arithmetic."""


def _value(node: ast.expr, numbers: list[int]) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        numbers.append(node.value)
        return Fraction(node.value)
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, numbers), _value(node.right, numbers)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div():
                return left / right
    raise _NotAllowedError
