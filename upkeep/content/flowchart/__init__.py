"""Mermaid flowcharts, parsed in Python.

What belongs here: the grammar of `flowchart` and `graph` blocks, as far as Mermaid's own parser accepts it, and where
each part stands, so that a block can be edited in place. What does not: Markdown around a block (`diagrams.py`), the
verdict that counts before a model's work is published (`mermaid.py`), and what a diagram means here.

The rules are those of Mermaid 11 (`flow.jison` and the preprocessing before it): the text as its lexer sees it
(`source.py`), a lexer with modes, in each of which the first rule that matches wins (`lexer.py`), and a grammar over
its tokens (`grammar.py`) that makes the records of `model.py`. Its oddities are kept where they decide whether a
diagram draws: `class a b ` with a trailing blank is refused, a node named `end` is, and so is an empty label `""`. Not
judged here: shape names and YAML inside `@{…}`.
"""
