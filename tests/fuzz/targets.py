"""Parsers of foreign text, one function each: bytes in, an error of ours or a value out."""

import bz2
import codecs
import gzip
import json
import lzma
import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np

from phonelm_search.backends import Job, host
from phonelm_search.backends.base import parse_result
from phonelm_search.backends.onnxruntime.watch import parse_stat
from phonelm_search.backends.phone import adb, listing, state
from phonelm_search.core.budget import QUANTITIES, parse_budget
from phonelm_search.core.errors import PhonelmSearchError
from phonelm_search.core.hf_config import load_hf_config, to_hf_config
from phonelm_search.core.precision import get_precision
from phonelm_search.core.units import parse_bytes, parse_count, parse_fraction, parse_ms
from phonelm_search.core.workload import Scenario
from phonelm_search.core.yamlfile import load_yaml, parse_yaml
from phonelm_search.devices import DeviceProfile, parse_core
from phonelm_search.quality.law import QualityLaw, encode_prior, load_prior
from phonelm_search.quality.law.observations import observations_of, read_trainings
from phonelm_search.space import SearchSpace, count_space
from phonelm_search.space.blocks import combinations_of
from phonelm_search.stages import check_trainings, fit_law
from phonelm_search.train.textfile import documents_of
from phonelm_search.work.cgroups import cpu_quota, held_up_us, memory_limit

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_FOLDER = Path(tempfile.mkdtemp(prefix="phonelm-fuzz-"))
_BETWEEN = b"\x1e"  # files of one text
_CGROUP_FILES = (
    "proc/self/mountinfo", "proc/self/cgroup", "sys/fs/cgroup/cpu.max", "sys/fs/cgroup/memory.max",
    "sys/fs/cgroup/memory.current", "sys/fs/cgroup/memory.stat", "sys/fs/cgroup/cpu.stat",
)  # fmt: skip
_MOST_TEXT = 100
_LONGEST_MESSAGE = 1000
_MOST_COUNTED = 20_000
"""Combinations of a space that are looked at; more would be the space's own work."""
_JOB = Job.model_validate(
    {
        "tag": "t", "graph": "g", "vocab_size": 8, "weights": {"seed": 1, "tensors": ()},
        "phases": ({"kind": "decode", "tokens": 1, "past_tokens": 8},), "repetitions": 3,
        "warmup": {"window_seconds": 0, "tolerance": 1, "most": 0}, "max_seconds": 1,
        "cache": {"mode": "warm", "copies": 1}, "threads": 1,
    }
)  # fmt: skip


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
    prior = load_prior(_file(data, "law.json"))
    points = observations_of(read_trainings(_file(SEEDS["observations"][0], "seen.csv"))).points
    told = QualityLaw(prior).log_loss(points)
    assert np.isfinite(told.mean).all()
    assert np.isfinite(told.deviation).all()


def observations(data: bytes) -> None:
    file = _file(data, "runs.csv")
    table = fit_law(file, _FOLDER / "fitted.json")
    assert all(math.isfinite(row["value"]) for row in table.rows)
    assert load_prior(_FOLDER / "fitted.json").sources == table.sources
    check_trainings(file)


def lines(data: bytes) -> None:
    for name in ("text.jsonl", "text.json", "text.txt"):
        for document in documents_of(_file(data, name), most=_MOST_TEXT, note=_check_message):
            assert len(document) <= _MOST_TEXT + (1 << 20)  # the block that it ends in
            document.encode()


def packed(data: bytes) -> None:
    for _ in documents_of(_file(data, "text.jsonl.gz"), most=_MOST_TEXT, note=_check_message):
        pass


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


def cgroups(data: bytes) -> None:
    """Files of /proc and /sys/fs/cgroup, one behind the other."""
    parts = [*data.split(_BETWEEN), *[b""] * len(_CGROUP_FILES)]
    for name, text in zip(_CGROUP_FILES, parts, strict=False):
        path = _FOLDER / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    quota = cpu_quota(_FOLDER / "root")
    assert quota is None or 0 < quota < math.inf
    limit = memory_limit(_FOLDER / "root")
    assert limit is None or 0 <= limit.available_bytes <= limit.limit_bytes
    held_up_us(_FOLDER / "root")


def machine(data: bytes) -> None:
    """What the kernel tells of this machine."""
    parse_stat(_text(data), frozenset({0, 1}))
    host.pages(_text(data), 4096)
    cache = _FOLDER / "cpu/cpu0/cache/index3"
    cache.mkdir(parents=True, exist_ok=True)
    for name in ("size", "level", "shared_cpu_list"):
        (cache / name).write_bytes(data)
    with mock.patch.multiple(host, _MEMORY=_file(data, "meminfo"), _CPU=_FOLDER / "cpu"):
        assert (host.available_bytes() or 0) >= 0
        assert host.last_level_cache_bytes() > 0
        host.machine()


def result(data: bytes) -> None:
    parse_result(_text(data), _JOB)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "config": config, "space": space, "device": device, "yaml": yaml, "law": law,
    "observations": observations, "option": option, "phone": phone, "adb_listing": adb_listing,
    "kernel": kernel, "lines": lines, "packed": packed, "cgroups": cgroups, "machine": machine,
    "result": result,
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
    "law": (
        b'{"shared": {"names": []}, "own": {}, "discrepancy": {}, "evidence": {}}',
        json.dumps(encode_prior(load_prior())).encode(),
    ),
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
    "lines": (
        b'{"text": "one"}\n{"text": "two\\u00e9 \\ud83d\\ude00", "id": 7}\r\n\n{"text": ""}\n',
        b'{"meta": {"a": [1, 2.5e3, null, true]}, "content": "one<|endoftext|>two"}\n',
        "\ufeffeins\nzwei <|endoftext|> drei".encode("utf-16"),
    ),
    "packed": (
        gzip.compress(b'{"text": "one"}\n{"text": "two"}\n', mtime=0),
        zstd.compress(b'{"text": "one"}\n'), bz2.compress(b'{"text": "one"}\n'),
        lzma.compress(b'{"text": "one"}\n'),
    ),
    "cgroups": (
        b"31 25 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n\x1e0::/\n\x1e"
        b"150000 100000\n\x1e4294967296\n\x1e1073741824\n\x1eanon 5\ninactive_file 4096\n"
        b"active_file 8192\n\x1eusage_usec 9\nthrottled_usec 1250\n",
        b"30 25 0:26 /a\\040b /sys/fs/cgroup rw - cgroup cgroup rw,cpu,memory\n\x1e"
        b"4:cpu,memory:/a b/c\n1:name=systemd:/\n0::/\n\x1emax 100000\n",
    ),
    "machine": (
        b"cpu  10 0 5 100 1 0 0 0 0 0\ncpu0 10 0 5 100 1 2 3 4 0 0\nintr 5\n",
        b"MemTotal: 16 kB\nMemAvailable:    123456 kB\n", b"32768K", b"3", b"0-1",
        b"always [madvise] never",
    ),
    "result": (
        b'noise\n{"schema": 4, "tag": "t", "ok": true, "error": null, "phases": [{"model": 0, '
        b'"kind": "decode", "tokens": 1, "past_tokens": 8, "warmup_ns": [9], "settled": true, '
        b'"samples_ns": [5, 6], "peak_bytes": null, "logits": {"first": [0.5], "l2": 1.5}}], '
        b'"logits": null, "environment": {"soc": "x"}, "conditions": {"before": {}}}\n',
        b'{"schema": 4, "tag": "t", "ok": false, "error": {"stage": "load", "message": "no"}, '
        b'"phases": [], "logits": null, "environment": {}, "conditions": {}}',
    ),
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
