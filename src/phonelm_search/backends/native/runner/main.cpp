// The runner of phonelm-search: one job in, one result out, both JSON. It measures and never
// judges.
//
//   phonelm-runner LIBRARY probe [CPUS]       what this device is: environment, caches, memory
//   phonelm-runner LIBRARY run JOB SECONDS    run the job of a file, for so long at most
//
// LIBRARY is libonnxruntime.so, loaded at run time. The last line of stdout is the document; logs
// go to stderr. Exit codes: 0 done; 1 the job failed, and the document says at which stage;
// 2 wrong usage or a malformed job; 3 the time limit was reached.

#include <sys/prctl.h>

#include <csignal>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "document.hpp"
#include "ort.hpp"
#include "runner.hpp"
#include "system.hpp"

namespace {

constexpr int kProtocol = 4;

json::Value identity(const std::string& runtime_version, int64_t threads) {
    const std::vector<int> cores = sys::affinity();
    utsname system{};
    uname(&system);
    const std::string governor =
        cores.empty() ? "" : sys::cpu_file(cores.front(), "cpufreq/scaling_governor");
    return {
        {"architecture", system.machine},
        {"kernel", system.release},
        {"governor", governor.empty() ? "unknown" : governor},
        {"capabilities", sys::capabilities()},
        {"runtime_version", runtime_version},
        {"threads", std::to_string(threads)},
        {"affinity", sys::joined(cores)},
        {"spinning", "on"},
    };
}

std::string failure(const std::string& tag, const std::string& stage, const std::string& message) {
    return json::text({
        {"schema", kProtocol},
        {"tag", tag},
        {"ok", false},
        {"error", {{"stage", stage}, {"message", message}}},
        {"phases", json::Value::array()},
        {"logits", nullptr},
        {"environment", json::Value::object()},
        {"conditions", json::Value::object()},
    });
}

std::string late;  // what the signal handler prints

void on_alarm(int) {
    const ssize_t written = write(STDOUT_FILENO, late.data(), late.size());
    _exit(written < 0 ? 4 : 3);
}

std::vector<int> numbers(const std::string& list) {
    std::vector<int> found;
    std::istringstream parts(list);
    for (std::string part; std::getline(parts, part, ',');) {
        if (!sys::is_integer(part))
            throw json::Error("cores must be numbers with commas between, got " + list);
        found.push_back(std::stoi(part));
    }
    return found;
}

void pin(const std::vector<int>& cores) {
    if (!cores.empty() && !sys::set_affinity(cores))
        throw StageError("start", "the kernel refuses to run on cores " + sys::joined(cores));
}

int probe(const std::string& library, const std::string& cores) {
    pin(numbers(cores));
    const std::vector<int> given = sys::affinity();
    const std::string version = ort::Environment(library, 1).version();
    std::cout << json::text({
                     {"environment", identity(version, static_cast<int64_t>(given.size()))},
                     {"cache_bytes", sys::last_level_cache_bytes(given)},
                     {"page_bytes", sysconf(_SC_PAGESIZE)},
                     {"huge_pages", sys::read("/sys/kernel/mm/transparent_hugepage/enabled")},
                 })
              << std::endl;
    return 0;
}

int run(const std::string& library, const std::string& path, unsigned seconds) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    const json::Value job = json::parse(text.str());
    const std::string tag = json::string(job, "tag");
    const int64_t schema = json::integer(job, "schema");
    if (schema != kProtocol)
        throw json::Error("the job must be of schema " + std::to_string(kProtocol) + ", got " +
                          std::to_string(schema));
    late = failure(tag, "timeout",
                   "the runner must finish within " + std::to_string(seconds) + " s and did not") +
           "\n";
    std::signal(SIGALRM, on_alarm);
    alarm(seconds);
    std::string stage, message;
    try {
        std::vector<int> cores;
        for (int64_t core : json::integers(job, "cpus")) cores.push_back(static_cast<int>(core));
        pin(cores);
        sys::zones();  // not between warm-up and the first sample
        JobSessions sessions(job, library);
        const json::Value phases = sessions.phases();
        const auto bandwidth = sessions.bandwidth();
        std::cout << json::text({
                         {"schema", kProtocol},
                         {"tag", tag},
                         {"ok", true},
                         {"error", nullptr},
                         {"phases", phases},
                         {"logits", sessions.last_logits()},
                         {"bandwidth_bytes_per_s", bandwidth},
                         {"backends", sys::mapped_libraries("Qnn")},
                         {"environment",
                          identity(sessions.runtime_version(), json::integer(job, "threads"))},
                         {"conditions", sessions.conditions()},
                     })
                  << std::endl;
        return 0;
    } catch (const StageError& error) {
        stage = error.stage, message = error.what();
    } catch (const ort::Error& error) {
        stage = "load", message = error.what();
    } catch (const std::bad_alloc&) {
        stage = "memory", message = "memory ran out";
    }
    std::cout << failure(tag, stage, message) << std::endl;
    return 1;
}

// A killed search must not leave this behind to disturb the next one, and when memory runs out this
// goes first; where the system refuses either, nothing is lost.
void die_with_parent() {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::ofstream("/proc/self/oom_score_adj") << 1000;
}

}  // namespace

int main(int count, char** words) {
    const std::vector<std::string> given(words + 1, words + count);
    die_with_parent();
    try {
        if (given.size() >= 2 && given.size() <= 3 && given[1] == "probe")
            return probe(given[0], given.size() == 3 ? given[2] : "");
        if (given.size() == 4 && given[1] == "run" && sys::is_integer(given[3]))
            return run(given[0], given[2], static_cast<unsigned>(std::stoul(given[3])));
        std::cerr << "usage: phonelm-runner LIBRARY probe [CPUS] | LIBRARY run JOB SECONDS\n";
    } catch (const std::exception& error) {
        std::cerr << "phonelm-runner: " << error.what() << "\n";
    }
    return 2;
}
