// One ONNX Runtime session with weights of its own, bound to buffers that it works on in place.
#pragma once

#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "document.hpp"
#include "ort.hpp"
#include "static.hpp"
#include "system.hpp"
#include "weights.hpp"

struct Model {
    std::string graph;
    int64_t vocab_size;
    uint64_t seed;
    bool from_file;
    std::vector<weights::Spec> tensors;
    std::unique_ptr<StaticJob> static_job;  // of a graph without dynamic dimensions

    explicit Model(const json::Value& job)
        : graph(json::string(job, "graph")), vocab_size(json::integer(job, "vocab_size")) {
        const json::Value& weights = json::object(job, "weights");
        seed = static_cast<uint64_t>(json::integer(weights, "seed"));
        from_file = json::string(weights, "source") == "file";
        for (const auto& t : json::array(weights, "tensors")) tensors.emplace_back(t);
        if (json::has(job, "static")) static_job = std::make_unique<StaticJob>(job["static"]);
    }
};

struct Phase {
    std::string kind, control;
    int64_t tokens, past_tokens;

    Phase(std::string kind, int64_t tokens, int64_t past)
        : kind(std::move(kind)), tokens(tokens), past_tokens(past) {}
    explicit Phase(const json::Value& job)
        : kind(json::string(job, "kind")),
          control(json::has(job, "control") ? json::string(job, "control") : ""),
          tokens(json::integer(job, "tokens")),
          past_tokens(json::integer(job, "past_tokens")) {}
};

class Copy {
 public:
    // Copy number `index` of a model; its seed is the model's plus this.
    Copy(ort::Environment& environment, const Model& model, uint64_t index)
        : environment_(environment), model_(model), pool_(model.seed + index) {
        const ort::Handle options = environment.session_options();
        std::string path = model.graph;
        try {
            if (model.from_file) {
                path = save(index);
            } else {
                std::vector<const char*> names;
                std::vector<ort::Value> values;
                for (const auto& spec : model.tensors) {
                    weights_.emplace_back(spec.bytes());
                    pool_.fill(spec, weights_.back().data());
                    names.push_back(spec.name.c_str());
                    values.push_back(environment.tensor(weights_.back().data(), spec.bytes(),
                                                        spec.shape, type(spec.type)));
                }
                environment.add_initializers(options, names, values);
                values_ = std::move(values);
            }
            sys::reset_peak_resident();
            session_ = environment.session(path, options);
            // A mapped file outlives its name; whatever ends this process, nothing large is left.
            if (model.from_file) std::remove((path + ".data").c_str());
        } catch (const ort::Error& error) {
            throw StageError("load", error.what());
        }
    }

    // Bind the phase's inputs and outputs; past and present are the same buffer.
    void bind(const Phase& phase) {
        buffers_.clear();
        bound_.clear();
        binding_ = environment_.binding(session_);
        if (model_.static_job) {
            static_ = std::make_unique<StaticWork>(environment_, session_, binding_, pool_,
                                                   *model_.static_job, model_.vocab_size,
                                                   phase.past_tokens);
            return;
        }
        const int64_t total = phase.tokens + phase.past_tokens;
        const auto ids = pool_.integers("input_ids", static_cast<size_t>(phase.tokens),
                                        static_cast<uint64_t>(model_.vocab_size));
        input("input_ids", {1, phase.tokens}, ort::kInt64, ids.data(), 8 * ids.size());
        const std::vector<int64_t> ones(static_cast<size_t>(total), 1);
        input("attention_mask", {1, total}, ort::kInt64, ones.data(), 8 * ones.size());
        for (const auto& declared : environment_.inputs(session_)) {
            const std::string past = "past_key_values";
            if (declared.name.rfind(past, 0)) continue;
            const weights::Spec spec(declared.name,
                                     {1, declared.dims.at(1), total, declared.dims.at(3)});
            buffers_.emplace_back(spec.bytes());
            pool_.fill(spec, buffers_.back().data());
            bind_last(declared.name, spec.shape, ort::kFloat, true);
            environment_.bind(ort::kBindOutput, binding_,
                              "present" + declared.name.substr(past.size()), bound_.back());
        }
        buffers_.emplace_back(static_cast<size_t>(4 * model_.vocab_size));
        logits_ = static_cast<float*>(buffers_.back().data());
        bind_last("logits", {1, 1, model_.vocab_size}, ort::kFloat, false);
    }

    void run() {
        environment_.run(session_, binding_);
        if (static_) static_->hand_over();
    }

    // A digest of the last position's logits.
    json::Value digest() const {
        return digest_of(static_ ? static_->logits()
                                 : std::vector(logits_, logits_ + model_.vocab_size));
    }

    // A digest of the cache's new columns, where they are handed over; else null.
    json::Value handed_over() const {
        return static_ ? digest_of(static_->columns()) : json::Value();
    }

 private:
    ort::Environment& environment_;
    const Model& model_;
    weights::Pool pool_;
    std::vector<Buffer> weights_, buffers_;  // a session does not own what it was given
    std::vector<ort::Value> values_, bound_;
    ort::Session session_;
    ort::Binding binding_;
    float* logits_ = nullptr;
    std::unique_ptr<StaticWork> static_;

    static json::Value digest_of(const std::vector<float>& values) {
        double squares = 0;
        for (const double value : values) {
            if (!std::isfinite(value))
                throw StageError("run", "the logits must be finite and are not");
            squares += value * value;
        }
        const auto some = static_cast<std::ptrdiff_t>(std::min<size_t>(16, values.size()));
        const std::vector<float> first(values.begin(), values.begin() + some);
        return {{"first", first}, {"l2", std::sqrt(squares)}};
    }

    static ort::Type type(const std::string& name) {
        return name == "float32" ? ort::kFloat : name == "uint8" ? ort::kUint8 : ort::kInt8;
    }

    void input(const std::string& name, std::vector<int64_t> shape, ort::Type type,
               const void* data, size_t bytes) {
        buffers_.emplace_back(bytes);
        std::memcpy(buffers_.back().data(), data, bytes);
        bind_last(name, std::move(shape), type, true);
    }

    void bind_last(const std::string& name, const std::vector<int64_t>& shape, ort::Type type,
                   bool is_input) {
        bound_.push_back(
            environment_.tensor(buffers_.back().data(), buffers_.back().bytes(), shape, type));
        environment_.bind(is_input ? ort::kBindInput : ort::kBindOutput, binding_, name,
                          bound_.back());
    }

    // Write graph and weights into a folder of this copy's own: a session maps its file.
    std::string save(uint64_t index) {
        const std::string folder = model_.graph + "-" + std::to_string(index);
        mkdir(folder.c_str(), 0700);
        std::ofstream(folder + "/model.onnx", std::ios::binary)
            << std::ifstream(model_.graph, std::ios::binary).rdbuf();
        std::ofstream data(folder + "/model.onnx.data", std::ios::binary);
        const auto offsets = weights::file_offsets(model_.tensors);
        for (size_t i = 0; i < offsets.size(); ++i) {
            const Buffer content(model_.tensors[i].bytes());
            pool_.fill(model_.tensors[i], content.data());
            data.seekp(static_cast<std::streamoff>(offsets[i]));
            data.write(static_cast<const char*>(content.data()),
                       static_cast<std::streamsize>(content.bytes()));
        }
        data.close();
        if (!data)
            throw StageError("storage", "the weights cannot be written: is the storage full?");
        return folder + "/model.onnx";
    }
};
