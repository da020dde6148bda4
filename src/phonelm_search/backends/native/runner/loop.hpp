// The timing loop: warm-up windows, then samples, without a pause between; as the Python runner's.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "system.hpp"

namespace loop {

constexpr size_t kLeastSamples = 3;

struct Settings {
    double window_seconds = 0, tolerance = 1;
    int64_t most_windows = 0;
    size_t repetitions = 1;
    double max_seconds = 0;
    size_t models = 1;  // run i belongs to model i modulo this number
};

struct Timed {
    std::vector<int64_t> warmup_ns, samples_ns, cpu_ns, switches;
    std::vector<sys::Window> windows;
    bool settled = false;

    // The runs of each of several models; what the system did is told of all together.
    std::vector<Timed> by_model(size_t models) const {
        std::vector<Timed> found;
        for (size_t m = 0; m < models; ++m)
            found.push_back({every(warmup_ns, m, models), every(samples_ns, m, models),
                             every(cpu_ns, m, models), every(switches, m, models), windows,
                             settled});
        return found;
    }

    static std::vector<int64_t> every(const std::vector<int64_t>& all, size_t first, size_t step) {
        std::vector<int64_t> some;
        for (size_t i = first; i < all.size(); i += step) some.push_back(all[i]);
        return some;
    }
};

template <class Number>
double median(std::vector<Number> values) {
    const size_t half = values.size() / 2;
    std::sort(values.begin(), values.end());
    return values.size() % 2
               ? static_cast<double>(values[half])
               : (static_cast<double>(values[half - 1]) + static_cast<double>(values[half])) / 2;
}

using Run = std::function<void()>;

// Whether two windows of a warm-up agree: the median of the models' ratios counts.
inline bool settled(const std::vector<int64_t>& before, const std::vector<int64_t>& window,
                    const Settings& s) {
    std::vector<double> ratios;
    for (size_t m = 0; m < s.models && !before.empty(); ++m) {
        const double first = median(Timed::every(before, m, s.models));
        if (first > 0) ratios.push_back(median(Timed::every(window, m, s.models)) / first);
    }
    return !ratios.empty() && std::abs(median(ratios) - 1) <= s.tolerance;
}

// Call `runs` in turn, over and over, and time every call; `before` is called untimed before each,
// `warmed_up` once, when timing begins.
inline Timed time(const std::vector<Run>& runs, const Settings& s, const std::vector<int>& cores,
                  const Run& before, const Run& warmed_up) {
    size_t turn = 0;
    auto step = [&] {
        const Run& run = runs[turn++ % runs.size()];
        if (before) before();
        const int64_t begin = sys::wall_ns();
        run();
        return sys::wall_ns() - begin;
    };
    Timed timed;
    timed.settled = s.most_windows == 0;
    const int64_t allowed =
        static_cast<int64_t>(static_cast<double>(s.models) * s.max_seconds * 1e9);
    std::vector<int64_t> previous;
    int64_t limit = sys::wall_ns() + allowed;
    for (int64_t w = 0; w < s.most_windows; ++w) {
        std::vector<int64_t> window;
        const int64_t opened = sys::wall_ns();
        do {
            for (size_t i = 0; i < runs.size(); ++i) window.push_back(step());
        } while (static_cast<double>(sys::wall_ns() - opened) < s.window_seconds * 1e9);
        timed.warmup_ns.insert(timed.warmup_ns.end(), window.begin(), window.end());
        timed.settled = settled(previous, window, s);
        if (timed.settled || (w > 0 && sys::wall_ns() > limit)) break;
        previous = std::move(window);
    }
    warmed_up();
    sys::Watch watch(cores);
    limit = sys::wall_ns() + allowed;
    while (timed.samples_ns.size() < s.models * s.repetitions) {
        for (size_t i = 0; i < s.models; ++i) {
            watch.begin();
            timed.samples_ns.push_back(step());
            watch.end();
        }
        if (sys::wall_ns() > limit && timed.samples_ns.size() >= s.models * kLeastSamples) break;
    }
    watch.close();
    timed.cpu_ns = watch.cpu_ns;
    timed.switches = watch.switches;
    timed.windows = watch.windows;
    return timed;
}

}  // namespace loop
