"""Turns LaTeX into MathML, which browsers draw and screen readers read without a script.

formula(r"-\\ln p_t")
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from latex2mathml.converter import convert

LETTERS = re.compile(r'(?:<mi mathvariant="normal">\w</mi>){2,}')
NAME = re.compile(r"(<mrow>)?<m([io])>(ln|log|max|min)</m\2>(?=(<mo[^>]*>(?:&#x00028;|\())?)")
OPERATOR = r"(?:<mrow>|<mo(?! form)[^>]*>[^<]{1,10}</mo>)(?:<mspace[^>]*/>)?"
SIGN = re.compile(rf"({OPERATOR})<mo>(&#x0(?:2212|00B1);)")
LONG = 30  # characters of a formula that may not fit on a line of a telephone
CLOSING = ("&#x00029;", ")", "&#x0005D;", "]", "|", "&#x0007C;")
REPAIRS = (  # what latex2mathml writes, and what TeX would set
    (re.compile(r"<mi>(&#x000B1;)</mi>"), r"<mo>\1</mo>"),
    (re.compile(r'"negativethinmathspace"'), '"-0.167em"'),
    (re.compile(r"<mo>(&#x02016;)</mo>"), r'<mo stretchy="false">\1</mo>'),
    (re.compile(r"<mo([^>]*)>(&#x0002F;|\||&#x0007C;|&#x02016;)<"), r'<mo\1 lspace="0.05em" rspace="0.05em">\2<'),
    (re.compile(r' xmlns="http://www.w3.org/1998/Math/MathML"'), ""),
)


def formula(source: str, display: str = "inline") -> str:
    """Return a LaTeX formula as MathML; `display` is "inline" or "block"."""
    text = convert(re.sub(r"\s+", " ", source).strip(), display=display)
    for pattern, replacement in REPAIRS:
        text = pattern.sub(replacement, text)
    text = LETTERS.sub(lambda match: f"<mi>{re.sub('<[^>]+>', '', match[0])}</mi>", text)  # \mathrm{ReLU} is one name
    text = SIGN.sub(_sign, NAME.sub(_spaced_name, text))
    return _breakable(text) if display == "inline" and len(source) > LONG else text


def _breakable(text):
    """Split a long formula of a paragraph before each of its equal signs, since browsers break no line inside one."""
    row = ElementTree.fromstring(text)[0]
    pieces = [[]]
    for item in row:
        if item.tag == "mo" and item.text == "=" and pieces[-1]:
            item.set("form", "infix")
            pieces.append([])
        pieces[-1].append(ElementTree.tostring(item, encoding="unicode"))
    return "<wbr>".join(f'<math display="inline"><mrow>{"".join(piece)}</mrow></math>' for piece in pieces)


def _spaced_name(match):
    """Set a name such as ln off from what stands around it, but not from a bracket after it."""
    left = "0" if match[1] else "0.167em"
    right = "0" if match[4] else "0.167em"
    return f'{match[1] or ""}<mo lspace="{left}" rspace="{right}">{match[3]}</mo>'


def _sign(match):
    """Make the minus of -2 a sign: it is an operation only after something that it can be subtracted from."""
    before, sign = match.groups()
    if any(f">{mark}</mo>" in before for mark in CLOSING):
        return match[0]
    return f'{before}<mo form="prefix" lspace="0" rspace="0.05em">{sign}'
