"""Function transforms of operators: batching and forward-mode derivatives, at any depth of nesting.

``level.py``: the stack of transforms and the tensors that stand for others inside of them; ``apply.py``: what an
operator does with such tensors; ``batching.py`` and ``forward.py``: the two rules; ``custom.py``: Functions of the
user.  Nothing here knows single operators: the rules are those of the primitives (``graph/batch.py``) and of the
derivatives that operators have anyway.
"""
