"""Text helpers."""

from greencv_core.utils.text import listed, number, p_value


def test_wording():
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert number(0.012345) == "0.0123"
    assert number(1234567) == "1,234,567"
    assert p_value(0.0004) == "p < 0.001"
