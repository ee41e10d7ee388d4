"""Variables in Dockerfiles, in every form of the reference."""

from __future__ import annotations

import pytest

from skiff.port.dockerfile.expand import ExpandError, expand

VALUES = {"a": "x", "empty": "", "str": "foobarbaz", "path": "/a/b/c", "v": "1.2.3"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("$a", "x"),
        ("${a}b", "xb"),
        ("$a$none-", "x-"),
        ("\\$a \\${a}", "$a ${a}"),
        ("'$a'", "$a"),
        ('"$a b"', "x b"),
        ('"\\$a \\" \\n"', '$a " \\n'),
        ("$", "$"),
        ("$1x", "x"),
        ("${a:-b}", "x"),
        ("${none:-b}", "b"),
        ("${empty:-b}", "b"),
        ("${empty-b}", ""),
        ("${none-$a}", "x"),
        ("${none:-${other:-deep}}", "deep"),
        ("${none:-'a}b'}", "a}b"),
        ("${a:+b}", "b"),
        ("${none:+b}", ""),
        ("${empty:+b}", ""),
        ("${empty+b}", "b"),
        ("${a:?told}", "x"),
        ("${a?}", "x"),
        ("${str#f*b}", "arbaz"),
        ("${str##f*b}", "az"),
        ("${str%b*}", "foobar"),
        ("${str%%b*}", "foo"),
        ("${str#x}", "foobarbaz"),
        ("${str#?}", "oobarbaz"),
        ("${str/ba/fo}", "fooforbaz"),
        ("${str//ba/fo}", "fooforfoz"),
        ("${path//\\//-}", "-a-b-c"),
        ("${v%.*}", "1.2"),
        ("${v%%.*}", "1"),
        ("${v//./_}", "1_2_3"),
        ("${none#x}", ""),
        ("image:${v%.*}-slim", "image:1.2-slim"),
    ],
)
def test_a_word_is_expanded(word: str, expected: str) -> None:
    assert expand(word, VALUES) == expected


def test_another_escape() -> None:
    assert expand("c:\\`$a", VALUES, "`") == "c:\\$a"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("${a", "missing '}'"),
        ("${", "bad substitution"),
        ("${}", "bad substitution"),
        ("${a:x}", "bad substitution"),
        ("${a@Q}", "bad substitution"),
        ("${a:-b", "missing '}'"),
        ("${a/b}", "missing '/'"),
        ("'a", "open quote '"),
        ('"a', 'open quote "'),
        ("${none:?must be told}", "none: must be told"),
        ("${none?}", "none: must be given"),
        ("${a#\\x}", "bad pattern"),
        ("${none:-" * 60 + "}" * 60, "nested too deep"),
    ],
)
def test_a_mistake_in_a_word(word: str, message: str) -> None:
    with pytest.raises(ExpandError, match=message) as caught:
        expand(word, VALUES)
    assert 0 <= caught.value.at < len(word)


def test_hostile_words_end_soon() -> None:
    with pytest.raises(ExpandError, match="too long"):
        expand("$a" * 100, {"a": "x" * 60000})
    with pytest.raises(ExpandError, match="too long"):
        expand('"' + "$a" * 100 + '"', {"a": "x" * 60000})
    with pytest.raises(ExpandError, match="too long"):
        expand("${a//" + "*x" * 200 + "/}", {"a": "a" * 5000})
    assert expand("${a#" + "*a" * 50 + "b}", {"a": "a" * 1000}) == "a" * 1000
