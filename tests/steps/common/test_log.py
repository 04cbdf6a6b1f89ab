from steps.common.log import line


def test_values_with_spaces_are_quoted_and_floats_are_short() -> None:
    assert line("saved", path="/a/b", loss=0.123456789, note='say "hi"') == (
        'saved path=/a/b loss=0.123457 note="say \\"hi\\""'
    )


def test_a_value_cannot_forge_a_second_line() -> None:
    assert "\n" not in line("read", name="x\nERROR forged")
