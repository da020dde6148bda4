// A run of a graph without dynamic dimensions, whose KV cache is integers of fixed length.
//
// The graph returns new columns of the cache alone. Handing them over belongs to every run: for the
// same provider they are copied into a cache, for another one they become float32 on the way.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "buffer.hpp"
#include "document.hpp"
#include "ort.hpp"
#include "weights.hpp"

struct Affine {  // real = (integer - zero_point) * scale
    float scale;
    int64_t zero_point;
};

struct StaticJob {
    int64_t cache_tokens, seen, masked;
    bool convert;
    std::map<std::string, Affine> outputs;

    explicit StaticJob(const json::Value& job)
        : cache_tokens(json::integer(job, "cache_tokens")),
          seen(json::integer(job, "seen")),
          masked(json::integer(job, "masked")),
          convert(json::string(job, "hand_over") == "convert") {
        for (const auto& [name, affine] : json::object(job, "outputs").items())
            outputs[name] = {static_cast<float>(json::number(affine, "scale")),
                             json::integer(affine, "zero_point")};
    }
};

class StaticWork {
 public:
    StaticWork(ort::Environment& environment, const ort::Session& session,
               const ort::Binding& binding, const weights::Pool& pool, const StaticJob& job,
               int64_t vocab_size, int64_t past_tokens)
        : environment_(environment), binding_(binding), job_(job) {
        for (const ort::Declared& given : environment.inputs(session)) {
            void* data = add(given, true);
            const size_t count = count_of(given);
            const std::vector<int64_t> values = given.name == "attention_mask"
                                                    ? mask(given, past_tokens)
                                                    : content(given, pool, vocab_size, past_tokens);
            if (values.size() != count)
                throw StageError("protocol", "the graph's input " + given.name + " is too long");
            store(values, given.type, data);
        }
        for (const ort::Declared& made : environment.outputs(session)) {
            const void* data = add(made, false);
            if (made.name == "logits") {
                logits_ = {made, data, nullptr};
            } else {
                // As long as the cache that it goes into, or as what it becomes.
                const size_t bytes = job.convert ? 4 * count_of(made)
                                                 : size_of(made.type) * count_of(made) /
                                                       made.dims.at(2) * slots(made);
                targets_.emplace_back(bytes);
                columns_.push_back({made, data, targets_.back().data()});
            }
        }
        if (!logits_.from) throw StageError("protocol", "the graph must have the output logits");
    }

    void hand_over() {
        for (const Column& column : columns_) {
            if (job_.convert)
                to_floats(column, static_cast<float*>(column.to));
            else
                copy(column);
        }
    }

    std::vector<float> logits() const {
        std::vector<float> found(count_of(logits_.declared));
        to_floats(logits_, found.data());
        return found;
    }

    // What was handed over last, column after column: numbers, or integers as they were copied.
    std::vector<float> columns() const {
        std::vector<float> found;
        for (const Column& column : columns_) {
            const size_t count = count_of(column.declared);
            if (job_.convert) {
                const auto* made = static_cast<const float*>(column.to);
                found.insert(found.end(), made, made + count);
                continue;
            }
            const size_t heads = static_cast<size_t>(column.declared.dims.at(1));
            const size_t each = count / heads;
            const size_t row = each / static_cast<size_t>(column.declared.dims.at(2)) *
                               static_cast<size_t>(slots(column.declared));
            for (size_t h = 0; h < heads; ++h)
                for (size_t i = h * row + row - each; i < (h + 1) * row; ++i)
                    found.push_back(column.declared.type == ort::kUint8
                                        ? static_cast<const uint8_t*>(column.to)[i]
                                        : static_cast<const uint16_t*>(column.to)[i]);
        }
        return found;
    }

 private:
    struct Column {
        ort::Declared declared;
        const void* from = nullptr;
        void* to = nullptr;
    };

    ort::Environment& environment_;
    const ort::Binding& binding_;
    const StaticJob& job_;
    std::vector<Buffer> buffers_, targets_;
    std::vector<ort::Value> bound_;
    Column logits_;
    std::vector<Column> columns_;

    static size_t count_of(const ort::Declared& tensor) {
        size_t count = 1;
        for (int64_t dim : tensor.dims) count *= static_cast<size_t>(dim);
        return count;
    }

    int64_t slots(const ort::Declared& column) const {
        return std::max(job_.cache_tokens, column.dims.at(2));
    }

    void* add(const ort::Declared& tensor, bool is_input) {
        buffers_.emplace_back(count_of(tensor) * ort::size_of(tensor.type));
        void* data = buffers_.back().data();
        bound_.push_back(
            environment_.tensor(data, buffers_.back().bytes(), tensor.dims, tensor.type));
        environment_.bind(is_input ? ort::kBindInput : ort::kBindOutput, binding_, tensor.name,
                          bound_.back());
        return data;
    }

    // Each of the new tokens sees the past and itself and what is between.
    std::vector<int64_t> mask(const ort::Declared& given, int64_t past) const {
        const int64_t tokens = given.dims.at(2), total = given.dims.at(3);
        std::vector<int64_t> out;
        for (int64_t row = 0; row < tokens; ++row)
            for (int64_t column = 0; column < total; ++column) {
                const int64_t own = column - job_.cache_tokens;
                const bool seen = own < 0 ? column < past : own <= row;
                out.push_back(seen ? job_.seen : job_.masked);
            }
        return out;
    }

    static std::vector<int64_t> content(const ort::Declared& given, const weights::Pool& pool,
                                        int64_t vocab_size, int64_t past) {
        if (given.name == "position_ids") {
            std::vector<int64_t> out(count_of(given));
            for (size_t i = 0; i < out.size(); ++i) out[i] = past + static_cast<int64_t>(i);
            return out;
        }
        const bool ids = given.name == "input_ids";
        const auto below =
            ids ? static_cast<uint64_t>(vocab_size) : uint64_t{1} << (8 * size_of(given.type));
        return pool.integers(given.name, count_of(given), below);
    }

    static void store(const std::vector<int64_t>& values, ort::Type type, void* data) {
        auto fill = [&](auto* out) {
            for (size_t i = 0; i < values.size(); ++i)
                out[i] = static_cast<std::remove_reference_t<decltype(*out)>>(values[i]);
        };
        switch (type) {
            case ort::kUint8:
                return fill(static_cast<uint8_t*>(data));
            case ort::kUint16:
                return fill(static_cast<uint16_t*>(data));
            case ort::kInt32:
                return fill(static_cast<int32_t*>(data));
            default:
                throw StageError("protocol", "a static graph takes 8, 16 and 32 bit integers");
        }
    }

    void to_floats(const Column& column, float* out) const {
        const auto found = job_.outputs.find(column.declared.name);
        if (found == job_.outputs.end())
            throw StageError("protocol", "the job must tell the scale of " + column.declared.name);
        const auto zero = static_cast<float>(found->second.zero_point);
        const float scale = found->second.scale;
        const size_t count = count_of(column.declared);
        auto convert = [&](const auto* codes) {
            for (size_t i = 0; i < count; ++i)
                out[i] = (static_cast<float>(codes[i]) - zero) * scale;
        };
        if (column.declared.type == ort::kUint8)
            convert(static_cast<const uint8_t*>(column.from));
        else if (column.declared.type == ort::kUint16)
            convert(static_cast<const uint16_t*>(column.from));
        else
            throw StageError("protocol", column.declared.name + " must be 8 or 16 bit integers");
    }

    // New columns of each head to the end of its row of the cache.
    void copy(const Column& column) const {
        const size_t heads = static_cast<size_t>(column.declared.dims.at(1));
        const size_t each = count_of(column.declared) / heads * ort::size_of(column.declared.type);
        const size_t row = each / static_cast<size_t>(column.declared.dims.at(2)) *
                           static_cast<size_t>(slots(column.declared));
        for (size_t h = 0; h < heads; ++h)
            std::memcpy(static_cast<char*>(column.to) + h * row + (row - each),
                        static_cast<const char*>(column.from) + h * each, each);
    }
};
