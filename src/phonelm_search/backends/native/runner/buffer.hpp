// Memory for kernels, and why a job fails.
#pragma once

#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

struct StageError : std::runtime_error {
    std::string stage;
    StageError(std::string stage, const std::string& message)
        : std::runtime_error(message), stage(std::move(stage)) {}
};

// Memory that the kernels may read with aligned loads.
class Buffer {
 public:
    explicit Buffer(size_t bytes) : bytes_(bytes), data_(aligned(bytes)) {}
    void* data() const { return data_.get(); }
    size_t bytes() const { return bytes_; }

 private:
    struct Free {
        void operator()(void* p) const { std::free(p); }
    };
    size_t bytes_;
    std::unique_ptr<void, Free> data_;

    static void* aligned(size_t bytes) {  // aligned_alloc is not in Android before API 28
        void* found = nullptr;
        if (posix_memalign(&found, 64, bytes + 64)) throw std::bad_alloc();
        return found;
    }
};
