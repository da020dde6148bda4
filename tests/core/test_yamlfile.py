"""YAML as people write it."""

import pytest

from phonelm_search.core.errors import ConfigurationError, MeasurementError, shown
from phonelm_search.core.yamlfile import parse_yaml, validate
from phonelm_search.devices import DeviceProfile


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "the key 'a' must be given once, .* at line 1 and again at line 3"),
        ("x: {a: 1, a: 1}", "the key 'a' must be given once"),
        ("a: 2026-13-01", "must be valid YAML; a value is not what its form or tag says"),
        ("a: !!int abc", "must be valid YAML; a value is not"),
        ("a: !!bool maybe", "must be valid YAML; a value is not"),
        ("a: !!timestamp x", "must be valid YAML; a value is not"),
        ("a: !!int ''", "must be valid YAML; a value is not"),
        ("[" * 1500, "must be valid YAML; it is nested too deeply"),
        ("a: " + "9" * 5000, "must be valid YAML; a value is not"),
    ],
)
def test_what_is_no_yaml_is_our_error(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse_yaml(text, source="a.yaml")
    assert str(caught.value).startswith("a.yaml must be valid YAML")
    assert len(str(caught.value)) < 500


def test_merged_keys_may_be_overridden() -> None:
    text = "base: &b {a: 1, c: 1}\nx: {m: &m {<<: *b, a: 2}}\nn: {<<: *m, a: 3}"
    assert parse_yaml(text, source="a")["n"] == {"a": 3, "c": 1}


def test_a_message_stays_under_a_kilobyte() -> None:
    many = {f"key{i}é": i for i in range(20_000)}
    with pytest.raises(ConfigurationError, match=r"and 19,99[0-9] more") as caught:
        validate({"name": "p", **many}, DeviceProfile, source="p.yaml")
    assert len(str(caught.value).encode()) < 1000
    assert str(caught.value).startswith("p.yaml: key0é: unknown key; allowed: name")
    bomb: list[object] = ["x" * 100] * 9
    for _ in range(40):
        bomb = [bomb] * 9
    assert len(shown(bomb)) <= 160
    assert shown(10**5000) == "an integer of about 5000 digits"


def test_no_value_is_said_twice() -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate({"name": "p", "precision": "int3", "threads": "many"}, DeviceProfile, source="p")
    assert str(caught.value).count("int3") == 1
    assert "got 'many'" in str(caught.value)


def test_a_stage_is_said_once() -> None:
    inner = MeasurementError("the kernel refuses it", stage="run")
    assert str(MeasurementError(str(inner), stage="run")).count("(stage: run)") == 1
    first = MeasurementError(f"all failed, the first: {inner}", stage="timeout")
    assert str(first) == "all failed, the first: the kernel refuses it (stage: run)"
    assert first.stage == "run"
