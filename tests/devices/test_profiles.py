"""Device profiles as people write them."""

from pathlib import Path

import pytest
import yaml

from phonelm_search.core.errors import ConfigurationError
from phonelm_search.devices import DEVICES, DeviceProfile, load_device

MIXED: dict[str, dict[str, str]] = {
    "execution_provider": {"prefill": "QNNExecutionProvider", "decode": "CPUExecutionProvider"},
    "precision": {"prefill": "qdq-a16w8", "decode": "int4-b32"},
    "provider_options": {"soc_model": "57"},
}


SWAPPED = (("prefill", "decode"), ("decode", "prefill"))


def profile(**changes: object) -> DeviceProfile:
    return DeviceProfile.model_validate({"name": "p", **changes})


def test_one_name_serves_both_phases_and_is_written_back_as_one() -> None:
    found = profile(precision="int8-b32")
    assert (found.precision.prefill, found.precision.decode) == ("int8-b32", "int8-b32")
    assert str(found.precision) == "int8-b32"
    dumped = found.model_dump(mode="json")
    assert dumped["precision"] == "int8-b32"
    assert dumped["execution_provider"] == "CPUExecutionProvider"
    assert DeviceProfile.model_validate(dumped) == found


def test_a_name_for_each_phase_comes_back_and_is_told() -> None:
    found = profile(**MIXED)
    dumped = found.model_dump(mode="json")
    assert dumped["precision"] == MIXED["precision"]
    assert DeviceProfile.model_validate(yaml.safe_load(yaml.safe_dump(dumped))) == found
    assert str(found.precision) == "prefill qdq-a16w8, decode int4-b32"
    assert found.accelerated is True
    assert found.accelerated_phases == ("prefill",)
    assert found.scheme.name == "int4-b32"


def test_each_phase_has_a_device_of_its_own() -> None:
    found = profile(**MIXED)
    first, step = found.for_phase("prefill"), found.for_phase("decode")
    assert str(first.execution_provider) == "QNNExecutionProvider"
    assert first.provider_options == {"soc_model": "57"}
    assert (str(step.execution_provider), step.provider_options) == ("CPUExecutionProvider", {})
    assert step.precision.prefill == "int4-b32"
    alone = profile(provider_options={"a": "1"})
    assert alone.for_phase("decode") == alone


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "qdq-a8w8"}, "CPUExecutionProvider takes a precision of fp32, int8-dynamic"),
        (
            {"execution_provider": "QNNExecutionProvider"},
            "takes a precision of qdq-a16w8, qdq-a8w8",
        ),
        ({**MIXED, "precision": "int4-b32"}, "got int4-b32 for prefill"),
        (
            {
                "execution_provider": "QNNExecutionProvider",
                "precision": {"prefill": "qdq-a16w8", "decode": "qdq-a8w8"},
            },
            "takes one precision, since they share the KV cache",
        ),
        (
            {
                "execution_provider": {k: MIXED["execution_provider"][j] for k, j in SWAPPED},
                "precision": {k: MIXED["precision"][j] for k, j in SWAPPED},
            },
            "prefill on the processor before decode on an accelerator is not timed",
        ),
        ({"precision": {"prefill": "fp32"}}, "precision.decode: this key is required"),
        ({"precision": {"prefill": "fp32", "decode": "int3"}}, "unknown precision 'int3'"),
        ({"precision": {"prompt": "fp32"}}, "precision"),
        ({"precision": 4}, "precision"),
    ],
)
def test_what_does_not_fit_is_said(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump({"name": "p", **changes}))
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_device(str(file))
    assert "\n" not in str(caught.value)


def test_a_scheme_for_both_replaces_what_each_had() -> None:
    assert str(profile(precision={"prefill": "fp32", "decode": "int4-b32"})
               .with_precision("int8-b32").precision) == "int8-b32"  # fmt: skip
    with pytest.raises(ConfigurationError, match="CPUExecutionProvider takes a precision of"):
        profile().with_precision("qdq-a16w8")


@pytest.mark.parametrize("name", DEVICES.names())
def test_shipped_profiles_load_and_phones_that_nobody_ran_say_so(name: str) -> None:
    found = load_device(name)
    comment = DEVICES.resolve(name).read_text().splitlines()[0]
    assert comment.startswith("# ")
    if found.connection == "adb":
        assert comment.startswith("# Not run on a phone by its makers")
