// The protocol's documents: nlohmann's JSON, and readers that take no value of a wrong type.
//
// The library's own `get` turns booleans and fractions into integers without a word.
#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include "third_party/nlohmann/json.hpp"

namespace json {

using Value = nlohmann::json;

class Error : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

inline Value parse(const std::string& text) {
    const auto shallow = [](int depth, Value::parse_event_t, const Value&) {
        if (depth > 64) throw Error("malformed JSON: expected less nesting");
        return true;
    };
    try {
        return Value::parse(text, shallow);
    } catch (const Value::exception& error) {
        throw Error(std::string("malformed JSON: ") + error.what());
    }
}

// One line. Bytes that are no UTF-8, as in a message from elsewhere, are replaced, and numbers that
// are not finite are null.
inline std::string text(const Value& value) {
    return value.dump(-1, ' ', true, Value::error_handler_t::replace);
}

inline const Value& expect(bool right, const Value& value, const std::string& name,
                           const char* wanted) {
    if (!right)
        throw Error(name + " must be " + wanted + ", got " +
                    (value.is_structured() ? value.type_name() : text(value)));
    return value;
}

inline std::string as_string(const Value& value, const std::string& name) {
    return expect(value.is_string(), value, name, "a string").get<std::string>();
}

inline double as_number(const Value& value, const std::string& name) {
    return expect(value.is_number(), value, name, "a number").get<double>();
}

inline int64_t as_integer(const Value& value, const std::string& name) {
    const bool fits =
        value.is_number_integer() &&
        (!value.is_number_unsigned() ||
         value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()));
    return expect(fits, value, name, "an integer of 64 bits").get<int64_t>();
}

inline const Value& field(const Value& job, const char* name) {
    if (!job.is_object() || !job.contains(name))
        throw Error(std::string("a job must have the field ") + name);
    return job[name];
}

inline bool has(const Value& job, const char* name) {
    return job.is_object() && job.contains(name) && !job[name].is_null();
}

inline std::string string(const Value& job, const char* name) {
    return as_string(field(job, name), name);
}

inline double number(const Value& job, const char* name) {
    return as_number(field(job, name), name);
}

inline int64_t integer(const Value& job, const char* name) {
    return as_integer(field(job, name), name);
}

inline bool boolean(const Value& job, const char* name) {
    const Value& value = field(job, name);
    return expect(value.is_boolean(), value, name, "true or false").get<bool>();
}

inline const Value& array(const Value& job, const char* name) {
    const Value& value = field(job, name);
    return expect(value.is_array(), value, name, "an array");
}

inline const Value& object(const Value& job, const char* name) {
    const Value& value = field(job, name);
    return expect(value.is_object(), value, name, "an object");
}

inline std::vector<int64_t> integers(const Value& job, const char* name) {
    std::vector<int64_t> out;
    for (const Value& item : array(job, name)) out.push_back(as_integer(item, name));
    return out;
}

}  // namespace json
