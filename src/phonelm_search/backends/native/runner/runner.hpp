// The sessions of one job, and the phases that it asks for.
#pragma once

#include <algorithm>
#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "document.hpp"
#include "loop.hpp"
#include "ort.hpp"
#include "session.hpp"
#include "system.hpp"

constexpr int kWakingRuns = 3;
constexpr int kBandwidthPasses = 2;
constexpr size_t kBandwidthWords = size_t{2} << 20;  // that a pass reads at least

struct PhaseTimes {
    size_t model;
    loop::Timed timed;
    json::Value logits, handed_over;
    int64_t peak_bytes;
};

class JobSessions {
 public:
    JobSessions(const json::Value& job, const std::string& library)
        : job_(job),
          environment_(library, static_cast<int>(json::integer(job, "threads"))),
          cores_(sys::affinity()),
          mode_(json::string(json::object(job, "cache"), "mode")),
          copies_wanted_(static_cast<uint64_t>(json::integer(job["cache"], "copies"))),
          tiny_phase_("decode", 1, 16) {
        std::map<std::string, std::string> options;
        for (const auto& [name, value] : json::object(job, "provider_options").items())
            options[name] = json::as_string(value, name);
        environment_.set_provider(json::string(job, "execution_provider"), options,
                                  json::has(job, "plug_in") ? json::string(job, "plug_in") : "",
                                  json::boolean(job, "may_fall_back"));
        models_.emplace_back(job);
        for (const auto& model : json::array(job, "beside")) models_.emplace_back(model);
        for (const Model& model : models_) copies_.push_back(copy(model, 0));
        if (json::has(job, "tiny")) tiny_model_ = std::make_unique<Model>(job["tiny"]);
    }

    // All phases of the first model, then all of the next, as the protocol asks.
    json::Value phases() {
        std::vector<Phase> phases;
        for (const auto& phase : json::array(job_, "phases")) phases.emplace_back(phase);
        // Prefill before the other copies take memory; warm loops before a rotation.
        std::vector<size_t> order(phases.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](size_t a, size_t b) { return rank(phases[a]) < rank(phases[b]); });
        std::vector<std::vector<PhaseTimes>> found(phases.size());
        for (size_t i : order) {
            try {
                found[i] = phase(phases[i]);
            } catch (const ort::Error& error) {
                throw StageError("run", error.what());
            }
        }
        json::Value documents = json::Value::array();
        for (size_t m = 0; m < models_.size(); ++m)
            for (size_t i = 0; i < phases.size(); ++i)
                documents.push_back(document(phases[i], found[i][m]));
        for (size_t i = phases.size(); i-- > 0 && last_logits_.is_null();)
            last_logits_ = found[i].back().logits;
        return documents;
    }

    const json::Value& last_logits() const { return last_logits_; }

    // What varied: from the end of the first warm-up to now.
    json::Value conditions() const {
        const json::Value after = sys::conditions(cores_);
        return {{"before", before_.is_null() ? after : before_}, {"after", after}};
    }

    // Bytes per second that all threads read of each buffer, a sample each pass.
    std::vector<std::vector<double>> bandwidth() const {
        const std::vector<int64_t> sizes = json::integers(job_, "bandwidth_bytes");
        if (sizes.empty()) return {};
        // Written, not zeroed: untouched zeros are one page of the kernel's and stay in the cache.
        const std::vector<int64_t> memory(*std::max_element(sizes.begin(), sizes.end()) / 8, 1);
        std::vector<std::vector<double>> found;
        for (int64_t bytes : sizes) found.push_back(bandwidth(memory.data(), bytes / 8));
        return found;
    }

    std::string runtime_version() const { return environment_.version(); }

 private:
    const json::Value& job_;
    ort::Environment environment_;
    std::vector<int> cores_;
    std::string mode_;
    uint64_t copies_wanted_;
    Phase tiny_phase_;
    std::list<Model> models_;  // copies refer to them
    std::vector<std::unique_ptr<Copy>>
        copies_;  // in order: copy 0 of each model, copy 1 of each, …
    std::unique_ptr<Model> tiny_model_;
    std::unique_ptr<Copy> tiny_;
    std::vector<int64_t> flush_;
    int64_t flushed_ = 0;
    json::Value last_logits_, before_;

    std::vector<double> bandwidth(const int64_t* buffer, size_t words) const {
        const auto threads = static_cast<size_t>(json::integer(job_, "threads"));
        const size_t each = words / threads;
        // A pass reads a small buffer over and over, or it would time the start of its threads.
        const size_t times =
            std::max<size_t>(1, kBandwidthWords / std::max<size_t>(1, each * threads));
        std::vector<double> samples;
        std::vector<int64_t> sums(threads);
        for (int pass = 0; pass <= kBandwidthPasses; ++pass) {
            std::vector<std::thread> readers;
            const int64_t begin = sys::wall_ns();
            for (size_t t = 0; t < threads; ++t)
                readers.emplace_back([&, t] {
                    const int64_t* part = buffer + t * each;
                    int64_t sum = 0;
                    for (size_t i = 0; i < times; ++i) {
                        sum = std::accumulate(part, part + each, sum);
                        std::atomic_signal_fence(std::memory_order_seq_cst);  // read anew
                    }
                    sums[t] = sum;
                });
            for (auto& reader : readers) reader.join();
            const double seconds = static_cast<double>(sys::wall_ns() - begin) / 1e9;
            const size_t read = times * each * threads;
            if (std::accumulate(sums.begin(), sums.end(), int64_t{0}) != static_cast<int64_t>(read))
                throw StageError("run", "a read of memory gave a wrong sum");
            if (pass) samples.push_back(8.0 * static_cast<double>(read) / seconds);
        }
        return samples;
    }

    static int rank(const Phase& phase) {
        return phase.kind == "prefill" ? 0 : phase.control.empty() ? 2 : 1;
    }

    std::unique_ptr<Copy> copy(const Model& model, uint64_t index) {
        return std::make_unique<Copy>(environment_, model, index);
    }

    std::vector<PhaseTimes> phase(const Phase& phase) {
        const bool warm_step = phase.kind == "decode" && mode_ == "warm";
        std::vector<loop::Timed> timed = !phase.control.empty() || warm_step
                                             ? apart(phase)
                                             : in_turn(phase).by_model(models_.size());
        std::vector<PhaseTimes> found;
        for (size_t m = 0; m < models_.size(); ++m)
            found.push_back(result(phase, m, std::move(timed[m])));
        return found;
    }

    // Loops on one copy, one model after another; the tiny model's is the same for all.
    std::vector<loop::Timed> apart(const Phase& phase) {
        if (phase.control == "tiny") {
            Copy& tiny = wake_model();
            tiny.bind(tiny_phase_);
            return std::vector<loop::Timed>(models_.size(), time({&tiny}, 1, {}));
        }
        loop::Run before;
        if (phase.control == "pause") {
            const int64_t ns = flush_ns();
            before =
                after_waking([ns] { std::this_thread::sleep_for(std::chrono::nanoseconds(ns)); });
        }
        std::vector<loop::Timed> found;
        for (size_t m = 0; m < models_.size(); ++m) {
            copies_[m]->bind(phase);
            found.push_back(time({copies_[m].get()}, 1, before));
        }
        return found;
    }

    // One loop over all models, and in cold decode over all their copies.
    loop::Timed in_turn(const Phase& phase) {
        const size_t count = models_.size();
        size_t used = count;
        loop::Run before;
        if (phase.kind == "decode" && mode_ == "rotate") {
            for (uint64_t i = copies_.size() / count; i < copies_wanted_; ++i)
                for (const Model& model : models_) copies_.push_back(copy(model, i));
            used = copies_.size();
        } else if (phase.kind == "decode" && mode_ == "flush") {
            before = after_waking([this] { flush(); });
        }
        std::vector<Copy*> turn;
        for (size_t i = 0; i < used; ++i) {
            copies_[i]->bind(phase);
            turn.push_back(copies_[i].get());
        }
        return time(turn, count, before);
    }

    loop::Timed time(const std::vector<Copy*>& turn, size_t models, const loop::Run& before) {
        std::vector<loop::Run> runs;
        for (Copy* each : turn) runs.push_back([each] { each->run(); });
        return loop::time(runs, settings(models), cores_, before, [this] {
            if (before_.is_null())
                before_ = sys::conditions(cores_);  // an idle processor's tell nothing
        });
    }

    loop::Settings settings(size_t models) const {
        const json::Value& warmup = json::object(job_, "warmup");
        loop::Settings s;
        s.window_seconds = json::number(warmup, "window_seconds");
        s.tolerance = json::number(warmup, "tolerance");
        s.most_windows = json::integer(warmup, "most");
        s.repetitions = static_cast<size_t>(json::integer(job_, "repetitions"));
        s.max_seconds = json::number(job_, "max_seconds");
        s.models = models;
        return s;
    }

    PhaseTimes result(const Phase& phase, size_t model, loop::Timed timed) {
        const int64_t peak = models_.front().from_file ? sys::peak_resident_bytes() : -1;
        const bool plain = phase.control.empty();
        return {model, std::move(timed), plain ? copies_[model]->digest() : json::Value(),
                plain ? copies_[model]->handed_over() : json::Value(), peak};
    }

    static json::Value document(const Phase& phase, const PhaseTimes& found) {
        const loop::Timed& timed = found.timed;
        json::Value windows = json::Value::array();
        for (const sys::Window& w : timed.windows)
            windows.push_back({{"samples", w.samples},
                               {"wall_ns", w.wall_ns},
                               {"foreign_share", w.foreign_share},
                               {"steal_share", w.steal_share}});
        return {
            {"model", found.model},
            {"kind", phase.kind},
            {"tokens", phase.tokens},
            {"past_tokens", phase.past_tokens},
            {"control", phase.control.empty() ? json::Value() : json::Value(phase.control)},
            {"warmup_ns", timed.warmup_ns},
            {"settled", timed.settled},
            {"samples_ns", timed.samples_ns},
            {"cpu_ns", timed.cpu_ns},
            {"switches", timed.switches},
            {"windows", windows},
            {"peak_bytes", sys::or_null(found.peak_bytes)},
            {"logits", found.logits},
            {"handed_over", found.handed_over},
        };
    }

    Copy& wake_model() {
        if (!tiny_model_) throw StageError("protocol", "flush and controls need a tiny model");
        if (!tiny_) tiny_ = std::make_unique<Copy>(environment_, *tiny_model_, 0);
        return *tiny_;
    }

    loop::Run after_waking(loop::Run act) {
        Copy& tiny = wake_model();
        tiny.bind(tiny_phase_);
        return [act, &tiny] {
            act();
            for (int i = 0; i < kWakingRuns; ++i) tiny.run();
        };
    }

    void flush() {
        if (flush_.empty())
            flush_.assign(
                static_cast<size_t>(
                    std::max<int64_t>(8, json::integer(job_["cache"], "flush_bytes")) / 8),
                1);
        flushed_ += std::accumulate(flush_.begin(), flush_.end(), int64_t{0});
        // The sum must count as used, or the compiler leaves the reading out.
        asm volatile("" : : "r"(flushed_));
    }

    int64_t flush_ns() {
        flush();
        const int64_t begin = sys::wall_ns();
        flush();
        return sys::wall_ns() - begin;
    }
};
