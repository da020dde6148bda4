// ONNX Runtime's C interface without its headers: the library is loaded at run time.
//
// OrtApi is a table of function pointers that only ever grows at its end, so the position of a
// function in it is part of the ABI (onnxruntime_c_api.h: "All of these functions ... must only be
// appended"). Only the positions that the runner needs are written down here; any release that
// serves API version 22 (ONNX Runtime 1.22) or later has them.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace ort {

class Error : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

enum Type : int {  // ONNXTensorElementDataType
    kFloat = 1,
    kUint8 = 2,
    kInt8 = 3,
    kUint16 = 4,
    kInt32 = 6,
    kInt64 = 7
};

inline size_t size_of(Type type) {
    return type == kUint8 || type == kInt8 ? 1 : type == kUint16 ? 2 : type == kInt64 ? 8 : 4;
}

constexpr uint32_t kApiVersion = 22;
constexpr int kLogErrors = 3, kArenaAllocator = 1, kDefaultMemory = 0;

enum Slot : size_t {
    kGetErrorMessage = 2,
    kCreateSession = 7,
    kCreateSessionOptions = 10,
    kSetSessionLogSeverityLevel = 22,
    kSessionGetInputCount = 30,
    kSessionGetOutputCount = 31,
    kSessionGetInputTypeInfo = 33,
    kSessionGetOutputTypeInfo = 34,
    kSessionGetInputName = 36,
    kSessionGetOutputName = 37,
    kCreateTensorWithDataAsOrtValue = 49,
    kCastTypeInfoToTensorInfo = 55,
    kGetTensorElementType = 60,
    kGetDimensionsCount = 61,
    kGetDimensions = 62,
    kCreateCpuMemoryInfo = 69,
    kAllocatorFree = 76,
    kGetAllocatorWithDefaultOptions = 78,
    kReleaseEnv = 92,
    kReleaseStatus = 93,
    kReleaseMemoryInfo = 94,
    kReleaseSession = 95,
    kReleaseValue = 96,
    kReleaseTypeInfo = 98,
    kReleaseSessionOptions = 100,
    kCreateEnvWithGlobalThreadPools = 119,
    kDisablePerSessionThreads = 120,
    kCreateThreadingOptions = 121,
    kReleaseThreadingOptions = 122,
    kAddSessionConfigEntry = 130,
    kRunWithBinding = 133,
    kCreateIoBinding = 134,
    kReleaseIoBinding = 135,
    kBindInput = 136,
    kBindOutput = 137,
    kSetGlobalIntraOpNumThreads = 147,
    kSetGlobalInterOpNumThreads = 148,
    kSetGlobalSpinControl = 149,
    kAddExternalInitializers = 210,
    kSessionOptionsAppendExecutionProvider = 216,
    kRegisterExecutionProviderLibrary = 301,
    kGetEpDevices = 303,
    kSessionOptionsAppendExecutionProviderV2 = 304,
    kEpDeviceEpName = 312,
};

struct Base {
    const void* const* (*GetApi)(uint32_t version);
    const char* (*GetVersionString)();
};

// The loaded library. Handles are opaque to us, so all of them are void*.
class Library {
 public:
    explicit Library(const std::string& path)
        : handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
        if (!handle_) throw Error(std::string("ONNX Runtime cannot be loaded: ") + dlerror());
        auto get = reinterpret_cast<const Base* (*)()>(dlsym(handle_, "OrtGetApiBase"));
        if (!get) throw Error(path + " is not ONNX Runtime: it has no OrtGetApiBase");
        version_ = get()->GetVersionString();
        api_ = get()->GetApi(kApiVersion);
        if (!api_)
            throw Error("ONNX Runtime must serve API version " + std::to_string(kApiVersion) +
                        ", it is " + version_);
    }

    const std::string& version() const { return version_; }

    // Call a function that returns a status; a status that is not null is an error.
    template <class... Arguments>
    void call(Slot slot, Arguments... arguments) const {
        check(
            reinterpret_cast<void* (*)(Arguments...)>(const_cast<void*>(api_[slot]))(arguments...));
    }

    void check(void* status) const {
        if (!status) return;
        auto message = reinterpret_cast<const char* (*)(const void*)>(
            const_cast<void*>(api_[kGetErrorMessage]));
        const std::string text = message(status);
        release(kReleaseStatus, status);
        throw Error(text.substr(0, text.find('\n')));
    }

    const char* name_of(Slot slot, const void* handle) const {
        return reinterpret_cast<const char* (*)(const void*)>(const_cast<void*>(api_[slot]))(
            handle);
    }

    void release(Slot slot, void* handle) const {
        reinterpret_cast<void (*)(void*)>(const_cast<void*>(api_[slot]))(handle);
    }

 private:
    void* handle_;
    std::string version_;
    const void* const* api_ = nullptr;
};

// Owns one of ONNX Runtime's objects.
class Handle {
 public:
    Handle() = default;
    Handle(const Library& library, Slot release, void* value)
        : library_(&library), release_(release), value_(value) {}
    Handle(Handle&& other) noexcept { *this = std::move(other); }
    Handle& operator=(Handle&& other) noexcept {
        std::swap(library_, other.library_);
        std::swap(release_, other.release_);
        std::swap(value_, other.value_);
        return *this;
    }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    ~Handle() {
        if (value_) library_->release(release_, value_);
    }
    void* get() const { return value_; }

 private:
    const Library* library_ = nullptr;
    Slot release_ = kReleaseStatus;
    void* value_ = nullptr;
};

using Value = Handle;
using Session = Handle;
using Binding = Handle;

// An input or output of a graph, as it says.
struct Declared {
    std::string name;
    std::vector<int64_t> dims;
    Type type;
};

// The process's environment: one thread pool that all sessions share, so that its workers stay
// awake from one copy of a model to the next.
class Environment {
 public:
    Environment(const std::string& path, int threads) : library_(path) {
        Handle options = make(kCreateThreadingOptions, kReleaseThreadingOptions);
        library_.call(kSetGlobalIntraOpNumThreads, options.get(), threads);
        library_.call(kSetGlobalInterOpNumThreads, options.get(), 1);
        library_.call(kSetGlobalSpinControl, options.get(), 1);
        const char* name = "phonelm";
        const void* given = options.get();
        environment_ = make(kCreateEnvWithGlobalThreadPools, kReleaseEnv, kLogErrors, name, given);
        memory_ = make(kCreateCpuMemoryInfo, kReleaseMemoryInfo, kArenaAllocator, kDefaultMemory);
        library_.call(kGetAllocatorWithDefaultOptions, &allocator_);
    }

    const std::string& version() const { return library_.version(); }

    // Sessions made from now on use a provider; one that comes as a plug-in is loaded first.
    void set_provider(std::string name, std::map<std::string, std::string> options,
                      const std::string& plug_in, bool may_fall_back) {
        may_fall_back_ = may_fall_back;
        provider_ = std::move(name);
        provider_options_ = std::move(options);
        if (plug_in.empty()) return;
        void* environment = environment_.get();
        library_.call(kRegisterExecutionProviderLibrary, environment, provider_.c_str(),
                      plug_in.c_str());
        const void* const* devices = nullptr;
        size_t count = 0;
        library_.call(kGetEpDevices, static_cast<const void*>(environment), &devices, &count);
        for (size_t i = 0; i < count && !device_; ++i)
            if (provider_ == library_.name_of(kEpDeviceEpName, devices[i])) device_ = devices[i];
        if (!device_) throw Error(provider_ + " finds no device that it could run on");
    }

    Handle session_options() const {
        Handle options = make(kCreateSessionOptions, kReleaseSessionOptions);
        library_.call(kDisablePerSessionThreads, options.get());
        library_.call(kSetSessionLogSeverityLevel, options.get(), kLogErrors);
        append_provider(options.get());
        return options;
    }

    Session session(const std::string& path, const Handle& options) const {
        const void *environment = environment_.get(), *given = options.get();
        void* made = nullptr;
        library_.call(kCreateSession, environment, path.c_str(), given, &made);
        return {library_, kReleaseSession, made};
    }

    // A tensor in memory that stays the caller's.
    Value tensor(void* data, size_t bytes, const std::vector<int64_t>& shape, Type type) const {
        const void* memory = memory_.get();
        const int64_t* dims = shape.data();
        void* made = nullptr;
        library_.call(kCreateTensorWithDataAsOrtValue, memory, data, bytes, dims, shape.size(),
                      static_cast<int>(type), &made);
        return {library_, kReleaseValue, made};
    }

    void add_initializers(const Handle& options, const std::vector<const char*>& names,
                          const std::vector<Value>& values) const {
        std::vector<const void*> given;
        for (const Value& value : values) given.push_back(value.get());
        library_.call(kAddExternalInitializers, options.get(), names.data(),
                      static_cast<const void* const*>(given.data()), names.size());
    }

    std::vector<Declared> inputs(const Session& session) const {
        return declared(session, kSessionGetInputCount, kSessionGetInputName,
                        kSessionGetInputTypeInfo);
    }

    std::vector<Declared> outputs(const Session& session) const {
        return declared(session, kSessionGetOutputCount, kSessionGetOutputName,
                        kSessionGetOutputTypeInfo);
    }

    Binding binding(const Session& session) const {
        void* made = nullptr;
        library_.call(kCreateIoBinding, session.get(), &made);
        return {library_, kReleaseIoBinding, made};
    }

    void bind(Slot input_or_output, const Binding& binding, const std::string& name,
              const Value& value) const {
        library_.call(input_or_output, binding.get(), name.c_str(),
                      static_cast<const void*>(value.get()));
    }

    void run(const Session& session, const Binding& binding) const {
        library_.call(kRunWithBinding, session.get(), static_cast<const void*>(nullptr),
                      static_cast<const void*>(binding.get()));
    }

 private:
    Library library_;
    Handle environment_, memory_;
    void* allocator_ = nullptr;
    const void* device_ = nullptr;  // of a provider that is a plug-in
    bool may_fall_back_ = false;
    std::string provider_ = "CPUExecutionProvider";
    std::map<std::string, std::string> provider_options_;

    template <class... Arguments>
    Handle make(Slot create, Slot release, Arguments... arguments) const {
        void* made = nullptr;
        library_.call(create, arguments..., &made);
        return {library_, release, made};
    }

    std::vector<Declared> declared(const Session& session, Slot counted, Slot named,
                                   Slot typed) const {
        const void* handle = session.get();
        size_t count = 0;
        library_.call(counted, handle, &count);
        std::vector<Declared> found(count);
        for (size_t i = 0; i < count; ++i) {
            char* name = nullptr;
            library_.call(named, handle, i, allocator_, &name);
            found[i].name = name;
            library_.call(kAllocatorFree, allocator_, static_cast<void*>(name));
            void* type = nullptr;
            library_.call(typed, handle, i, &type);
            const Handle info(library_, kReleaseTypeInfo, type);
            const void *known = info.get(), *tensor = nullptr;
            library_.call(kCastTypeInfoToTensorInfo, known, &tensor);
            int element = 0;
            library_.call(kGetTensorElementType, tensor, &element);
            found[i].type = static_cast<Type>(element);
            size_t rank = 0;
            library_.call(kGetDimensionsCount, tensor, &rank);
            found[i].dims.resize(rank);
            library_.call(kGetDimensions, tensor, found[i].dims.data(), rank);
        }
        return found;
    }

    void append_provider(void* options) const {
        const std::string suffix = "ExecutionProvider";
        if (provider_ == "CPU" + suffix) return;
        // A graph that the provider does not take runs on the CPU without a word: that must fail.
        if (!may_fall_back_)
            library_.call(kAddSessionConfigEntry, options, "session.disable_cpu_ep_fallback", "1");
        std::vector<const char*> keys, values;
        for (const auto& [key, value] : provider_options_) {
            keys.push_back(key.c_str());
            values.push_back(value.c_str());
        }
        const auto *given_keys = static_cast<const char* const*>(keys.data()),
                   *given_values = static_cast<const char* const*>(values.data());
        if (device_) {
            library_.call(kSessionOptionsAppendExecutionProviderV2, options, environment_.get(),
                          static_cast<const void* const*>(&device_), size_t{1}, given_keys,
                          given_values, keys.size());
            return;
        }
        std::string name = provider_;
        if (name.size() > suffix.size() &&
            name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0)
            name.resize(name.size() - suffix.size());
        if (name == "Xnnpack") name = "XNNPACK";
        library_.call(kSessionOptionsAppendExecutionProvider, options, name.c_str(), given_keys,
                      given_values, keys.size());
    }
};

}  // namespace ort
