// What the system says of itself: identity, conditions, and what disturbs a loop.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "document.hpp"

namespace sys {

inline int64_t clock_ns(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return int64_t{1000000000} * t.tv_sec + t.tv_nsec;
}
inline int64_t wall_ns() { return clock_ns(CLOCK_MONOTONIC); }

// A small file's text without the white space at its end; empty where it cannot be read. No file
// that is read so is longer than 64 KiB, whatever lies in its place.
inline std::string read(const std::string& path) {
    std::ifstream file(path);
    std::string out(size_t{1} << 16, '\0');
    file.read(out.data(), static_cast<std::streamsize>(out.size()));
    out.resize(static_cast<size_t>(file.gcount()));
    while (!out.empty() && (std::isspace(static_cast<unsigned char>(out.back())) || !out.back()))
        out.pop_back();
    return out;
}

inline bool is_integer(const std::string& text) {
    const size_t begin = !text.empty() && text[0] == '-';
    return text.size() > begin && std::all_of(text.begin() + begin, text.end(),
                                              [](unsigned char c) { return std::isdigit(c); });
}

// No counter and no size of the kernel's is as large.
constexpr int64_t kMostCounted = int64_t{1} << 48;

// An integer of at most 15 digits; none of the kernel's that is read here has more.
inline bool is_number(const std::string& text) { return is_integer(text) && text.size() <= 16; }

// The number behind `name` in a file of lines "name ... number"; -1 where there is none.
inline int64_t number_after(const std::string& path, const std::string& name) {
    std::istringstream file(read(path));
    for (std::string line; std::getline(file, line);)
        if (line.rfind(name, 0) == 0) {
            const int64_t number = std::strtoll(line.c_str() + name.size(), nullptr, 10);
            return number < kMostCounted ? number : -1;
        }
    return -1;
}

inline std::vector<int> affinity() {
    cpu_set_t set;
    std::vector<int> cores;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int i = 0; i < CPU_SETSIZE; ++i)
            if (CPU_ISSET(i, &set)) cores.push_back(i);
    return cores;
}

// Set before any thread starts, so that all of them inherit it; false where the kernel refuses.
inline bool set_affinity(const std::vector<int>& cores) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int core : cores) CPU_SET(core, &set);
    return sched_setaffinity(0, sizeof set, &set) == 0;
}

inline std::string joined(const std::vector<int>& numbers) {
    std::string out;
    for (int n : numbers) out += (out.empty() ? "" : ",") + std::to_string(n);
    return out;
}

inline std::string cpu_file(int core, const std::string& name) {
    return read("/sys/devices/system/cpu/cpu" + std::to_string(core) + "/" + name);
}

// Hardware capabilities that decide which kernels run, as the kernel names them.
inline std::string capabilities() {
    std::istringstream file(read("/proc/cpuinfo"));
    std::string line, found;
    while (std::getline(file, line))
        if (line.rfind("flags", 0) == 0 || line.rfind("Features", 0) == 0) break;
    std::istringstream words(line);
    const std::vector<std::string> wanted = {"avx2",     "avx512f", "avx512_vnni", "avx_vnni",
                                             "amx_int8", "asimddp", "i8mm",        "bf16",
                                             "sve",      "sve2",    "sme"};
    for (std::string word; words >> word;)
        if (std::find(wanted.begin(), wanted.end(), word) != wanted.end())
            found += (found.empty() ? "" : " ") + word;
    return found.empty() ? "unknown" : found;
}

inline int64_t available_bytes() {
    const int64_t kilobytes = number_after("/proc/meminfo", "MemAvailable:");
    return kilobytes < 0 ? -1 : 1024 * kilobytes;
}

// Size of the largest cache that the kernel tells of any of the cores; 0 where it tells none.
inline int64_t last_level_cache_bytes(const std::vector<int>& cores) {
    int64_t largest = 0;
    for (int core : cores)
        for (int i = 0; i < 8; ++i) {
            const std::string size = cpu_file(core, "cache/index" + std::to_string(i) + "/size");
            char* unit = nullptr;
            int64_t bytes = std::strtoll(size.c_str(), &unit, 10);
            if (bytes < 0 || bytes >= int64_t{1} << 30) continue;  // no such size
            if (*unit == 'K') bytes <<= 10;
            if (*unit == 'M') bytes <<= 20;
            largest = std::max(largest, bytes);
        }
    return largest;
}

// Names of the shared libraries in this process that contain a word.
inline std::vector<std::string> mapped_libraries(const std::string& word) {
    std::ifstream maps("/proc/self/maps");
    std::set<std::string> found;
    for (std::string line; std::getline(maps, line);) {
        const size_t slash = line.rfind('/');
        if (slash != std::string::npos && line.find(word, slash) != std::string::npos)
            found.insert(line.substr(slash + 1));
    }
    return {found.begin(), found.end()};
}

inline int64_t peak_resident_bytes() {
    const int64_t kilobytes = number_after("/proc/self/status", "VmHWM:");
    return kilobytes < 0 ? -1 : 1024 * kilobytes;
}

inline void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

inline json::Value or_null(int64_t value) { return value < 0 ? json::Value() : json::Value(value); }

// Thermal zones of the processor, or all where none is called so; looked up once. A charger's or a
// modem's zone tells nothing of how fast cores may run, and some take milliseconds to read.
inline const std::vector<std::string>& zones() {
    static const std::vector<std::string> found = [] {
        std::vector<std::string> processor, all;
        for (int i = 0; i < 128; ++i) {
            const std::string zone = "/sys/class/thermal/thermal_zone" + std::to_string(i);
            std::string type = read(zone + "/type");
            if (type.empty()) continue;
            all.push_back(zone + "/temp");
            for (char& c : type) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
            for (const char* part :
                 {"cpu", "soc", "apc", "tsens", "cluster", "big", "mid", "little", "exynos"})
                if (type.find(part) != std::string::npos) {
                    processor.push_back(zone + "/temp");
                    break;
                }
        }
        return processor.empty() ? all : processor;
    }();
    return found;
}

// Degrees of the hottest of these zones; NaN where none can be read.
inline double hottest_zone() {
    double hottest = NAN;
    for (const std::string& zone : zones()) {
        const std::string milli = read(zone);
        if (!is_number(milli)) continue;
        const double degrees = std::stod(milli) / 1000;
        if (degrees >= 5 && degrees <= 125)
            hottest = std::fmax(hottest, degrees);  // else it is off
    }
    return hottest;
}

// The highest number in a file of each core; -1 where none tells.
inline int64_t highest(const std::vector<int>& cores, const std::string& name) {
    int64_t found = -1;
    for (int core : cores) {
        const std::string text = cpu_file(core, name);
        if (is_number(text)) found = std::max<int64_t>(found, std::stoll(text));
    }
    return found;
}

// The sum of a number in a file of each core; -1 where none tells.
inline int64_t total(const std::vector<int>& cores, const std::string& name) {
    int64_t found = -1;
    for (int core : cores) {
        const std::string text = cpu_file(core, name);
        if (is_number(text)) found = std::max<int64_t>(found, 0) + std::stoll(text);
    }
    return found;
}

// What varies from run to run; null where the system does not tell.
inline json::Value conditions(const std::vector<int>& cores) {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const std::string load = read("/proc/loadavg");
    const std::string current = read("/sys/class/power_supply/battery/current_now");
    return {
        {"load_1min", load.empty() ? NAN : std::strtod(load.c_str(), nullptr)},
        {"frequency_khz", or_null(highest(cores, "cpufreq/scaling_cur_freq"))},
        {"frequency_limits_khz", or_null(total(cores, "cpufreq/scaling_max_freq"))},
        {"temperature_c", hottest_zone()},
        {"available_bytes", or_null(available_bytes())},
        {"frequency_full_khz", or_null(total(cores, "cpufreq/cpuinfo_max_freq"))},
        {"major_faults", usage.ru_majflt},
        {"battery_current_ua", is_number(current)
                                   ? json::Value(std::strtoll(current.c_str(), nullptr, 10))
                                   : json::Value()},
    };
}

// What the system did while some samples were taken.
struct Window {
    int64_t samples, wall_ns;
    double foreign_share, steal_share;
};

struct Ticks {
    int64_t busy = -1, steal = -1;
};

// Busy and stolen ticks of some cores, from the text of /proc/stat (proc(5)); -1: not told. Older
// kernels have fewer columns, newer ones more. A line that is none, or cut off, does not count.
inline Ticks ticks_of(const std::string& text, const std::vector<int>& cores) {
    Ticks found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line) && !lines.eof();) {
        std::istringstream words(line.rfind("cpu", 0) == 0 ? line.substr(3) : "");
        std::string core;
        if (!(words >> core) || line[3] != core[0] || core[0] == '-' || !is_number(core)) continue;
        if (core.size() > 6) continue;
        std::vector<int64_t> ticks;
        bool right = true;
        for (std::string word; words >> word; right = right && is_number(word) && word[0] != '-')
            ticks.push_back(std::strtoll(word.c_str(), nullptr, 10));
        if (!right || ticks.size() < 4) continue;
        if (std::find(cores.begin(), cores.end(), std::atoi(core.c_str())) == cores.end()) continue;
        ticks.resize(8);  // user nice system idle iowait irq softirq steal
        found.busy =
            std::max<int64_t>(found.busy, 0) + ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
        found.steal = std::max<int64_t>(found.steal, 0) + ticks[7];
    }
    return found;
}

// Counters between the runs of a loop; the Python runner's Watch is its twin.
class Watch {
 public:
    explicit Watch(std::vector<int> cores)
        : cores_(std::move(cores)),
          tick_ns_(1000000000 / sysconf(_SC_CLK_TCK)),
          file_(open("/proc/stat", O_RDONLY | O_CLOEXEC)) {
        open_window();
    }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() {
        if (file_ >= 0) ::close(file_);
    }

    std::vector<int64_t> cpu_ns, switches;
    std::vector<Window> windows;

    void begin() {
        cpu_mark_ = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        switch_mark_ = involuntary();
    }

    void end() {
        cpu_ns.push_back(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_mark_);
        switches.push_back(involuntary() - switch_mark_);
        ++samples_;
        if (wall_ns() - opened_ > kWindowNs) {
            close_window();
            open_window();
        }
    }

    // The last window counts if it is half as long as the others.
    void close() {
        if (wall_ns() - opened_ > kWindowNs / 2) close_window();
    }

 private:
    static constexpr size_t kMostStat = size_t{1} << 24;
    static constexpr int64_t kWindowNs = 200000000;  // twenty ticks of the system's clock
    std::vector<int> cores_;
    int64_t tick_ns_;
    int file_;
    int64_t cpu_mark_ = 0, switch_mark_ = 0, opened_ = 0, own_ = 0, samples_ = 0;
    int64_t busy_ = -1, steal_ = -1;

    static int64_t involuntary() {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_nivcsw;
    }

    void open_window() {
        samples_ = 0;
        opened_ = wall_ns();
        own_ = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        read_system(busy_, steal_);
    }

    void close_window() {
        int64_t busy = -1, steal = -1;
        read_system(busy, steal);
        if (busy < 0 || busy_ < 0 || !samples_) return;
        const int64_t wall = wall_ns() - opened_;
        const int64_t own = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_;
        const double cores_ns = static_cast<double>(wall) * static_cast<double>(cores_.size());
        const double tick_ns = static_cast<double>(tick_ns_);
        const double foreign_ns =
            static_cast<double>(busy - busy_) * tick_ns - static_cast<double>(own);
        windows.push_back({samples_, wall, std::max(0.0, foreign_ns / cores_ns),
                           static_cast<double>(steal - steal_) * tick_ns / cores_ns});
    }

    // Busy and stolen ticks of the cores since the system's start (proc(5)); -1: not told.
    void read_system(int64_t& busy, int64_t& steal) const {
        busy = steal = -1;
        // One read must hold all of it: the kernel makes it anew at each.
        std::string text(size_t{1} << 16, '\0');
        ssize_t size = -1;
        while (file_ >= 0) {
            size = pread(file_, text.data(), text.size(), 0);
            if (size < static_cast<ssize_t>(text.size()) || text.size() >= kMostStat) break;
            text.resize(4 * text.size());
        }
        if (size <= 0) return;
        text.resize(static_cast<size_t>(size));
        const Ticks ticks = ticks_of(text, cores_);
        busy = ticks.busy, steal = ticks.steal;
    }
};

}  // namespace sys
