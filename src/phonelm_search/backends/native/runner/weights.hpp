// Weights that are generated, never sent: the same bytes as phonelm_search.graph.weights makes.
//
// A pool of 4 MiB of SplitMix64 words is filled from a seed; every tensor reads it from an offset
// given by FNV-1a-64 of its name, wrapping around.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "document.hpp"

namespace weights {

constexpr size_t kWords = 4u * 1024 * 1024 / 8;
constexpr size_t kFileAlignment = 4096;

struct Spec {
    std::string name, type, kind;
    std::vector<int64_t> shape;
    double scale = 0;

    explicit Spec(const json::Value& job)
        : name(json::string(job, "name")),
          type(json::string(job, "type")),
          kind(json::string(job, "kind")),
          shape(json::integers(job, "shape")),
          scale(json::number(job, "scale")) {
        if (type != "float32" && type != "uint8" && type != "int8")
            throw json::Error("unknown tensor type " + type);
    }
    Spec(std::string name, std::vector<int64_t> shape)  // a uniform float tensor: caches
        : name(std::move(name)),
          type("float32"),
          kind("uniform"),
          shape(std::move(shape)),
          scale(1) {}

    size_t count() const {
        size_t n = 1;
        for (int64_t d : shape) n *= static_cast<size_t>(d);
        return n;
    }
    size_t bytes() const { return count() * (type == "float32" ? 4 : 1); }
};

inline uint64_t fnv1a64(const std::string& name) {
    uint64_t value = 0xCBF29CE484222325u;
    for (unsigned char byte : name) value = (value ^ byte) * 0x100000001B3u;
    return value;
}

class Pool {
 public:
    explicit Pool(uint64_t seed) : words_(kWords) {
        for (uint64_t& word : words_) {
            seed += 0x9E3779B97F4A7C15u;
            uint64_t z = seed;
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
            z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
            word = z ^ (z >> 31);
        }
    }

    // Fill `out`, of spec.bytes() bytes.
    void fill(const Spec& spec, void* out) const {
        const size_t start = fnv1a64(spec.name) % kWords;
        if (spec.kind == "rotary_cos" || spec.kind == "rotary_sin") {
            rotary(spec, static_cast<float*>(out));
        } else if (spec.kind == "uniform") {
            // The upper 24 bits as u in [-1, 1): its deviation is 1/sqrt(3).
            const float factor = static_cast<float>(spec.scale * std::sqrt(3.0) / 8388608.0);
            floats(spec, start, static_cast<float*>(out), [&](float u) { return u * factor; });
        } else if (spec.kind == "positive") {
            const float base = static_cast<float>(spec.scale);
            const float factor = static_cast<float>(spec.scale / 33554432.0);
            floats(spec, start, static_cast<float*>(out),
                   [&](float u) { return base + u * factor; });
        } else if (spec.kind == "int4") {
            bytes(spec, start, 4, static_cast<uint8_t*>(out), [](uint64_t word, size_t i) {
                const unsigned pair = static_cast<unsigned>(word >> (16 * i)) & 0xFFFF;
                return static_cast<uint8_t>((1 + (pair & 0xFF) % 15) | (1 + (pair >> 8) % 15) << 4);
            });
        } else if (spec.kind == "int8") {
            const unsigned less = spec.type == "int8" ? 128 : 0;
            bytes(spec, start, 8, static_cast<uint8_t*>(out), [less](uint64_t word, size_t i) {
                const unsigned octet = static_cast<unsigned>(word >> (8 * i)) & 0xFF;
                return static_cast<uint8_t>(1 + octet % 255 - less);
            });
        } else {
            throw json::Error("unknown kind of tensor " + spec.kind);
        }
    }

    // `count` integers in [0, below), for example token ids.
    std::vector<int64_t> integers(const std::string& name, size_t count, uint64_t below) const {
        const size_t start = fnv1a64(name) % kWords;
        std::vector<int64_t> out(count);
        for (size_t i = 0; i < count; ++i)
            out[i] = static_cast<int64_t>(words_[(start + i) % kWords] % below);
        return out;
    }

 private:
    std::vector<uint64_t> words_;

    template <class Make>
    void floats(const Spec& spec, size_t start, float* out, Make make) const {
        const size_t count = spec.count();
        for (size_t i = 0; i < count; ++i) {
            const uint64_t word = words_[(start + i) % kWords];
            out[i] = make(static_cast<float>(static_cast<int64_t>(word >> 40) - 8388608));
        }
    }

    // `each` elements of one byte from every word, from the word `start` on.
    template <class Make>
    void bytes(const Spec& spec, size_t start, size_t each, uint8_t* out, Make make) const {
        const size_t count = spec.count();
        for (size_t i = 0, w = start; i < count; w = w + 1 == kWords ? 0 : w + 1)
            for (size_t part = 0; part < each && i < count; ++part, ++i)
                out[i] = make(words_[w], part);
    }

    // Angles of position p and pair i are p * theta^(-i / half), as in rotary embedding.
    static void rotary(const Spec& spec, float* out) {
        const int64_t positions = spec.shape.at(0), half = spec.shape.at(1);
        const bool cosine = spec.kind == "rotary_cos";
        for (int64_t i = 0; i < half; ++i) {
            const double inverse =
                std::pow(spec.scale, -static_cast<double>(i) / static_cast<double>(half));
            for (int64_t p = 0; p < positions; ++p) {
                const double angle = static_cast<double>(p) * inverse;
                out[p * half + i] = static_cast<float>(cosine ? std::cos(angle) : std::sin(angle));
            }
        }
    }
};

// Where each tensor begins in the weights file of a graph.
inline std::vector<size_t> file_offsets(const std::vector<Spec>& specs) {
    std::vector<size_t> offsets;
    size_t position = 0;
    for (const Spec& spec : specs) {
        offsets.push_back(position);
        position += (spec.bytes() + kFileAlignment - 1) / kFileAlignment * kFileAlignment;
    }
    return offsets;
}

}  // namespace weights
