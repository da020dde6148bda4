// JSON as the runner's protocol needs it: objects, arrays, strings, numbers, booleans, null.
//
// A job is small and comes from our own host, so the reader is strict and simple; whatever it does
// not take is a malformed job. Header-only and without dependencies, because a phone's runner is
// built by whatever compiler is at hand.
#pragma once

#include <cctype>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace json {

class Error : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

class Value {
 public:
    enum class Kind { null, boolean, number, string, array, object };

    Kind kind = Kind::null;
    bool boolean = false;
    std::string text;  // of a string, or a number as it was written
    std::vector<Value> items;
    std::map<std::string, Value> fields;

    const Value& operator[](const char* name) const {
        auto found = fields.find(name);
        if (kind != Kind::object || found == fields.end())
            throw Error(std::string("a job must have the field ") + name);
        return found->second;
    }

    bool has(const char* name) const {
        auto found = fields.find(name);
        return found != fields.end() && found->second.kind != Kind::null;
    }

    const std::string& string() const {
        expect(Kind::string, "a string");
        return text;
    }

    double number() const {
        expect(Kind::number, "a number");
        return std::strtod(text.c_str(), nullptr);
    }

    // Integers are read as such: a 64-bit seed does not fit a double.
    int64_t integer() const {
        expect(Kind::number, "an integer");
        char* end = nullptr;
        long long value = std::strtoll(text.c_str(), &end, 10);
        if (*end) throw Error("expected an integer, got " + text);
        return value;
    }

    const std::vector<Value>& array() const {
        expect(Kind::array, "an array");
        return items;
    }

 private:
    void expect(Kind wanted, const char* name) const {
        if (kind != wanted) throw Error(std::string("expected ") + name);
    }
};

class Reader {
 public:
    explicit Reader(const std::string& text) : at_(text.data()), end_(at_ + text.size()) {}

    Value document() {
        Value value = read(0);
        skip();
        if (at_ != end_) fail("nothing more");
        return value;
    }

 private:
    static constexpr int kDeepest = 64;
    const char* at_;
    const char* end_;

    [[noreturn]] void fail(const char* wanted) const {
        throw Error(std::string("malformed JSON: expected ") + wanted);
    }

    void skip() {
        while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) ++at_;
    }

    char peek() {
        skip();
        if (at_ == end_) fail("a value");
        return *at_;
    }

    void take(const char* word) {
        for (; *word; ++word, ++at_)
            if (at_ == end_ || *at_ != *word) fail(word);
    }

    Value read(int depth) {
        if (depth > kDeepest) fail("less nesting");
        Value value;
        switch (peek()) {
            case '{': {
                value.kind = Value::Kind::object;
                members('}', [&] {
                    if (peek() != '"') fail("a name");
                    std::string name = string();
                    if (peek() != ':') fail("a colon");
                    ++at_;
                    value.fields[name] = read(depth + 1);
                });
                break;
            }
            case '[':
                value.kind = Value::Kind::array;
                members(']', [&] { value.items.push_back(read(depth + 1)); });
                break;
            case '"':
                value.kind = Value::Kind::string;
                value.text = string();
                break;
            case 't':
            case 'f':
                value.kind = Value::Kind::boolean;
                value.boolean = *at_ == 't';
                take(value.boolean ? "true" : "false");
                break;
            case 'n':
                take("null");
                break;
            default:
                value.kind = Value::Kind::number;
                value.text = number();
        }
        return value;
    }

    template <class Each>
    void members(char close, Each each) {
        ++at_;
        if (peek() == close) {
            ++at_;
            return;
        }
        while (true) {
            each();
            char next = peek();
            ++at_;
            if (next == close) return;
            if (next != ',') fail("a comma");
        }
    }

    size_t digits() {
        const char* begin = at_;
        while (at_ != end_ && std::isdigit(static_cast<unsigned char>(*at_))) ++at_;
        return static_cast<size_t>(at_ - begin);
    }

    bool accept(const char* any) {
        if (at_ == end_ || !std::strchr(any, *at_) || !*at_) return false;
        ++at_;
        return true;
    }

    // As RFC 8259 has it: no leading zeros, no point without digits on both sides.
    std::string number() {
        const char* begin = at_;
        accept("-");
        if (!accept("0") && !digits()) fail("a number");
        if (accept(".") && !digits()) fail("digits behind the point");
        if (accept("eE")) {
            accept("+-");
            if (!digits()) fail("an exponent");
        }
        return std::string(begin, at_);
    }

    std::string string() {
        std::string out;
        for (++at_;; ++at_) {
            if (at_ == end_ || static_cast<unsigned char>(*at_) < 0x20) fail("a closing quote");
            if (*at_ == '"') break;
            if (*at_ != '\\') {
                out += *at_;
                continue;
            }
            if (++at_ == end_) fail("an escape");
            switch (*at_) {
                case 'n':
                    out += '\n';
                    break;
                case 't':
                    out += '\t';
                    break;
                case 'r':
                    out += '\r';
                    break;
                case 'b':
                    out += '\b';
                    break;
                case 'f':
                    out += '\f';
                    break;
                case 'u':
                    escaped(out);
                    break;
                default:
                    out += *at_;
            }
        }
        ++at_;
        return out;
    }

    unsigned hex4() {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
            if (++at_ == end_ || !std::isxdigit(static_cast<unsigned char>(*at_)))
                fail("four hex digits");
            char digit[2] = {*at_, 0};
            code = 16 * code + static_cast<unsigned>(std::strtoul(digit, nullptr, 16));
        }
        return code;
    }

    void escaped(std::string& out) {
        unsigned code = hex4();
        if (code >= 0xD800 && code < 0xDC00 && end_ - at_ > 2 && at_[1] == '\\' && at_[2] == 'u') {
            at_ += 2;
            code = 0x10000 + ((code - 0xD800) << 10) + (hex4() - 0xDC00);
        }
        if (code < 0x80) {
            out += static_cast<char>(code);
        } else if (code < 0x800) {
            out += static_cast<char>(0xC0 | code >> 6);
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else if (code < 0x10000) {
            out += static_cast<char>(0xE0 | code >> 12);
            out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        } else {
            out += static_cast<char>(0xF0 | code >> 18);
            out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
            out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
            out += static_cast<char>(0x80 | (code & 0x3F));
        }
    }
};

inline Value parse(const std::string& text) { return Reader(text).document(); }

inline std::string quote(const std::string& text) {
    std::string out = "\"";
    char code[8];
    for (unsigned char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += static_cast<char>(c);
        } else if (c < 0x20 || c >= 0x7F) {  // bytes that may be no UTF-8: a message from elsewhere
            std::snprintf(code, sizeof code, "\\u%04x", c);
            out += code;
        } else {
            out += static_cast<char>(c);
        }
    }
    return out + '"';
}

inline std::string number(double value) {
    if (!std::isfinite(value)) return "null";
    char text[40];
    std::snprintf(text, sizeof text, "%.17g", value);
    return text;
}

// {"name": value, ...} of values that are JSON already.
class Object {
 public:
    Object& add(const std::string& name, const std::string& value) {
        text_ += (text_.empty() ? "" : ", ") + quote(name) + ": " + value;
        return *this;
    }
    std::string str() const { return "{" + text_ + "}"; }

 private:
    std::string text_;
};

template <class Items, class Each>
std::string array(const Items& items, Each each) {
    std::string out;
    for (const auto& item : items) out += (out.empty() ? "" : ", ") + each(item);
    return "[" + out + "]";
}

inline std::string array(const std::vector<int64_t>& items) {
    return array(items, [](int64_t i) { return std::to_string(i); });
}

}  // namespace json
