// What the tests ask of the runner's parts:
//   runner_tool weights < job    the bytes of each tensor, one behind the other
//   runner_tool json < lines     each line read and written again, or "error"
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "json.hpp"
#include "weights.hpp"

static std::string again(const json::Value& value) {
    using Kind = json::Value::Kind;
    switch (value.kind) {
        case Kind::null:
            return "null";
        case Kind::boolean:
            return value.boolean ? "true" : "false";
        case Kind::number:
            return value.text;
        case Kind::string:
            return json::quote(value.text);
        case Kind::array:
            return json::array(value.items, again);
        case Kind::object:
            break;
    }
    json::Object out;
    for (const auto& [name, field] : value.fields) out.add(name, again(field));
    return out.str();
}

int main(int, char** words) {
    if (words[1] == std::string("json")) {
        for (std::string line; std::getline(std::cin, line);) {
            try {
                std::cout << again(json::parse(line)) << "\n";
            } catch (const json::Error&) {
                std::cout << "error\n";
            }
        }
        return 0;
    }
    const std::string text(std::istreambuf_iterator<char>(std::cin), {});
    const json::Value job = json::parse(text);
    const weights::Pool pool(static_cast<uint64_t>(job["seed"].integer()));
    for (const auto& tensor : job["tensors"].array()) {
        const weights::Spec spec(tensor);
        std::vector<char> bytes(spec.bytes());
        pool.fill(spec, bytes.data());
        std::cout.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }
}
