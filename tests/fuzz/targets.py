"""Parsers of foreign text, one function each: bytes in, an error of ours or a value out."""

import codecs
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from phonelm_search.backends.phone import adb, listing, state
from phonelm_search.core.budget import QUANTITIES, parse_budget
from phonelm_search.core.errors import PhonelmSearchError
from phonelm_search.core.hf_config import load_hf_config, to_hf_config
from phonelm_search.core.precision import get_precision
from phonelm_search.core.units import parse_bytes, parse_count, parse_fraction, parse_ms
from phonelm_search.core.workload import Scenario
from phonelm_search.core.yamlfile import load_yaml, parse_yaml
from phonelm_search.devices import DeviceProfile, parse_core
from phonelm_search.quality.law import load_prior
from phonelm_search.quality.law.observations import observations_of, read_trainings
from phonelm_search.space import SearchSpace, count_space
from phonelm_search.space.blocks import combinations_of

_FOLDER = Path(tempfile.mkdtemp(prefix="phonelm-fuzz-"))
_LONGEST_MESSAGE = 1000
_MOST_COUNTED = 20_000
"""Combinations of a space that are looked at; more would be the space's own work."""


def _file(data: bytes, name: str) -> Path:
    path = _FOLDER / name
    path.write_bytes(data)
    return path


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").removeprefix(codecs.BOM_UTF8.decode())


def config(data: bytes) -> None:
    shape = load_hf_config(_file(data, "config.json"))
    assert 0 < shape.parameters < 2**63
    assert len(shape.shape_id) < 200
    to_hf_config(shape)


def space(data: bytes) -> None:
    found = load_yaml(_file(data, "space.yaml"), SearchSpace)
    assert SearchSpace.model_validate(found.model_dump(mode="json")) == found
    if combinations_of(found) <= _MOST_COUNTED:
        counts = count_space(found, get_precision("int4-b32"))
        assert 0 < counts.feasible <= counts.combinations


def device(data: bytes) -> None:
    found = load_yaml(_file(data, "device.yaml"), DeviceProfile)
    assert DeviceProfile.model_validate(found.model_dump(mode="json")) == found


def yaml(data: bytes) -> None:
    parse_yaml(_text(data), source="a.yaml")


def law(data: bytes) -> None:
    load_prior(_file(data, "law.json"))


def observations(data: bytes) -> None:
    observations_of(read_trainings(_file(data, "runs.csv")))


def option(data: bytes) -> None:
    text = _text(data)
    for parse in (parse_count, parse_bytes, parse_ms, parse_fraction, Scenario.parse):
        try:
            parse(text)
        except PhonelmSearchError:
            raise
        except ValueError as error:  # the option's name is put before it
            _check_message(str(error))
    for quantity in QUANTITIES:
        parse_budget(quantity, text)


def phone(data: bytes) -> None:
    text = _text(data)
    state.parse_state(text)
    state.parse_sensors(text)
    state.parse_cores(text)
    state.parse_available_bytes(text)
    state.mismatch({"ro.product.model": "x"}, state.parse_properties(text))
    adb.last_line(text)


def adb_listing(data: bytes) -> None:
    listed = listing.parse_listing(_text(data))
    for serial in {p.serial for p in listed}:
        listing.trouble_of(listed, serial)
    listing.lacks_permission(_text(data))


def kernel(data: bytes) -> None:
    name, _, rest = _text(data).partition(" ")
    capacity, _, frequency = rest.partition(" ")
    parse_core(name, capacity, frequency)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "config": config, "space": space, "device": device, "yaml": yaml, "law": law,
    "observations": observations, "option": option, "phone": phone, "adb_listing": adb_listing,
    "kernel": kernel,
}  # fmt: skip

SEEDS: Mapping[str, tuple[bytes, ...]] = {
    "config": (
        b'{"model_type": "llama", "hidden_size": 64, "intermediate_size": 160, '
        b'"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 320, "rope_scaling": '
        b'{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}}',
        b'{"model_type": "qwen2", "hidden_size": 64, "num_attention_heads": 4, '
        b'"num_key_value_heads": 2, "sliding_window": 4, "rms_norm_eps": 1e-6, "rope_parameters": '
        b'{"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}}',
    ),
    "space": (
        b"name: z\nvocab_size: 2048\nhidden_size: {min: 64, max: 192, step: 32}\n"
        b"num_hidden_layers: {min: 2, max: 4}\nhead_dim: [32]\nkv_groups: [1, 2]\n"
        b"ffn_ratio: {min: 2.0, max: 4.0, step: 0.5}\nmultiple_of: 32\nffn: [gated, plain]\n"
        b"parameters: {count: decoder, target: 600k, tolerance: 15%}\n"
        b"limits: {weight_bytes: 80MB, kv_bytes_per_token: 32kB, align: 32}\n"
        b"references:\n- {name: r, hidden_size: 128, intermediate_size: 352, "
        b"num_hidden_layers: 3, num_attention_heads: 4}\n",
    ),
    "device": (
        b"name: p\nconnection: adb\nmatch: {ro.product.model: x}\ncores: [0, 1]\n"
        b"thermal: {highest_start_c: 45, longest_cooldown_s: 300}\nthreads: 2\n"
        b"precision: {prefill: fp32, decode: int4-b32}\nworkload: {prompt_tokens: [16]}\n",
    ),
    "yaml": (
        b"a: &x {b: 2026-01-01, c: !!int 4, <<: {d: 1.5e3}}\ne: *x\nf: [.inf, ~, 0x1f, 1:30]\n",
    ),
    "law": (b'{"shared": {"names": []}, "own": {}, "discrepancy": {}, "evidence": {}}',),
    "observations": (
        b"hidden_size,intermediate_size,num_hidden_layers,num_attention_heads,tokens,loss\n"
        b"64,160,2,4,1e6,3.5\n128,320,2,4,2e6,3.1\n",
    ),
    "option": (
        b"85M", b"6e5", b"80MB", b"400ms", b"5%", b"chat=256:128", b"d=chat=2:4:900ms", b"+1%",
    ),
    "phone": (
        b"zone cpu-0-0 45000\nmValue=41.5, mType=0\n  level: 80\n  temperature: 301\n"
        b"  AC powered: true\nThermal Status: 0\n[ro.product.model]: [Pixel 8]\n"
        b"cpu0 1024 3000000\nMemAvailable:    123456 kB\n",
    ),
    "adb_listing": (
        b"List of devices attached\nadb-AB [3]._adb-tls-connect._tcp\tdevice\n"
        b"(no serial number)\tno permissions; see [http://x]\n[fe80::1%wlan0]:5555  offline\n",
    ),
    "kernel": (b"cpu0 1024 3000000",),
}  # fmt: skip
"""What is mutated: a valid text of each kind."""

WORDS = (
    b"9" * 30, b"-1", b"0", b"1e400", b".inf", b".nan", b"Infinity", b"NaN", b"null", b"~", b"[]",
    b"{}", b"''", b"\xef\xbb\xbf", b"\x00", b"\xff", b"[" * 400, b"{a: " * 300,
    b"9223372036854775808",
    b"!!int abc", b"2026-13-01", b"*x", b"&x", b"<<: ", b"\n", b"\t", b": ", b", ", b'"', b"true",
    b"1_000", b"0.5", b"\xc2\xb2", b"1.5e+8", b"1000000000", b"- ", b"# ", b"? ",
)  # fmt: skip
"""What has broken parsers before."""


def allowed(target: Callable[[bytes], None], data: bytes) -> None:
    """Run a target; an error of ours may come out, in less than a kilobyte."""
    try:
        target(data)
    except PhonelmSearchError as error:
        _check_message(str(error))


def _check_message(message: str) -> None:
    assert message
    assert len(message.encode("utf-8", "replace")) < _LONGEST_MESSAGE
