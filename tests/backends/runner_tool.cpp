// What the tests ask of the runner's parts:
//   runner_tool weights < job    the bytes of each tensor, one behind the other
//   runner_tool json < lines     each line read and written again, or "error"
//   runner_tool text < bytes     the bytes as a JSON string
//   runner_tool stat < text      busy and stolen ticks of cores 0 and 4095
//   runner_tool odd              numbers at the edge of what JSON holds
#include <cmath>
#include <iostream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "document.hpp"
#include "system.hpp"
#include "weights.hpp"

static void reread() {
    for (std::string line; std::getline(std::cin, line);) {
        try {
            std::cout << json::text(json::parse(line)) << "\n";
        } catch (const json::Error&) {
            std::cout << "error\n";
        }
    }
}

static void fill(const std::string& text) {
    const json::Value job = json::parse(text);
    const weights::Pool pool(static_cast<uint64_t>(json::integer(job, "seed")));
    for (const auto& tensor : json::array(job, "tensors")) {
        const weights::Spec spec(tensor);
        std::vector<char> bytes(spec.bytes());
        pool.fill(spec, bytes.data());
        std::cout.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }
}

int main(int, char** words) {
    const std::string what = words[1];
    if (what == "json") {
        reread();
        return 0;
    }
    if (what == "odd") {
        using Integer = std::numeric_limits<int64_t>;
        std::cout << json::text({NAN, INFINITY, -INFINITY, Integer::max(), Integer::min()});
        return 0;
    }
    const std::string text(std::istreambuf_iterator<char>(std::cin), {});
    if (what == "text") {
        std::cout << json::text(text);
        return 0;
    }
    if (what == "stat") {
        const sys::Ticks ticks = sys::ticks_of(text, {0, 4095});
        std::cout << ticks.busy << " " << ticks.steal;
        return 0;
    }
    try {
        fill(text);
    } catch (const json::Error& error) {
        std::cerr << error.what() << "\n";
        return 1;
    }
}
