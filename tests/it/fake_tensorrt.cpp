// A TensorRT that computes nothing, for tests of the binding: real C++ classes whose virtual functions stand where
// TensorRT 10's (-DTEN=1), 11's (-DTEN=0) or TensorRT-RTX's (-DTEN=0 -DRTX) do, libnvinfer and libnvonnxparser in one. A plan is text: the tensors that
// the test described and the profiles that were set. A run writes ones to every output, in memory that must be the host's.
#ifndef RTX
#define RTX 0
#endif
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

struct Dims {
    int32_t count;
    int64_t dims[8];
};

// `count` functions that nobody may call, behind those of Base.
template <class Base, int N> struct Number {};
template <class Base, int N> struct Gap : Gap<Base, N - 1> {
    virtual void gap(Number<Base, N>) { abort(); }
};
template <class Base> struct Gap<Base, 0> : Base {};

// A class whose only new function stands at `slot`, the last one of its base at `last`.
#define AT(name, base, last, slot, function) struct name : Gap<base, (slot) - (last) - 1> { virtual function = 0; };
#define EITHER(ten, eleven) (TEN ? (ten) : (eleven))

struct Root {
    virtual ~Root() {}
};

// Whatever was freed, a letter each, in order.
std::string freed;

// What the user holds: a table and the implementation.
struct Public {
    Public(char letter, Root* made) : implementation(made), letter(letter) {}
    virtual ~Public() {
        delete implementation;
        freed += letter;
    }
    Root* implementation;
    char letter;
};
static_assert(sizeof(Root) == sizeof(void*), "the implementation is the second word");

struct Versioned {
    virtual int language() const = 0;
    struct Interface {
        const char* kind;
        int major, minor;
    };
    virtual Interface interface() const = 0;
    virtual ~Versioned() {}
};
#if TEN
struct Logger {
    virtual void log(int severity, const char* words) = 0;
    virtual ~Logger() {}
};
#else
struct Logger : Versioned {
    virtual void log(int severity, const char* words) = 0;
};
#endif
struct Monitor : Versioned {
    virtual void start(const char* phase, const char* parent, int steps) = 0;
    virtual bool step(const char* phase, int step) = 0;
    virtual void finish(const char* phase) = 0;
};

Logger* logger;
std::string tensors[2]; // trunk, windows

struct Tensor {
    std::string name;
    bool input;
    int element;
    std::vector<int64_t> dims;
    uint64_t address = 0;
};

Dims dims_of(const std::vector<int64_t>& list) {
    Dims dims{int32_t(list.size()), {}};
    for (size_t i = 0; i < list.size(); i++) dims.dims[i] = list[i];
    return dims;
}

// Lines: `tensor <input> <element> <name> <dims...>`, `profile <which> <dims...>`.
struct Text {
    std::vector<Tensor> tensors;
    std::vector<std::vector<int64_t>> profiles[3];
    explicit Text(const std::string& text) {
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) {
            std::istringstream words(line);
            std::string kind;
            words >> kind;
            Tensor tensor;
            int which = 0;
            if (kind == "tensor") words >> tensor.input >> tensor.element >> tensor.name;
            else words >> which;
            for (int64_t dim; words >> dim;) tensor.dims.push_back(dim);
            if (kind == "tensor") tensors.push_back(tensor);
            else profiles[which].push_back(tensor.dims);
        }
    }
};

// What a profile needs between its layers: a byte for each look or window, and 100.
int64_t scratch_of(const Text& text, int profile) { return 100 + text.profiles[2][profile][0]; }

AT(C1, Root, 1, EITHER(17, 16), bool profile(int, void*))
AT(C2, C1, EITHER(17, 16), EITHER(21, 20), bool shape(const char*, const Dims*))
AT(C3, C2, EITHER(21, 20), EITHER(22, 21), Dims dims(const char*))
AT(C4, C3, EITHER(22, 21), EITHER(24, 23), bool address(const char*, void*))
AT(C5, C4, EITHER(24, 23), EITHER(37, 36), bool enqueue(void*))
AT(C6, C5, EITHER(37, 36), EITHER(49, 48), void scratch(void*, int64_t))
#if RTX
AT(C7, C6, 48, 52, bool capturable(void*))
// What was compiled, in words: `cold` for a new one, `run` for each run.
AT(K1, Root, 1, 2, void* serialize())
AT(K2, K1, 2, 3, bool deserialize(const char*, size_t))
struct JitCache : K2 {
    std::string text = "cold;";
    void* serialize() override;
    bool deserialize(const char* bytes, size_t size) override {
        bool known = size >= 4 && !memcmp(bytes, "cold", 4);
        if (known) text.assign(bytes, size);
        return known;
    }
};
AT(J1, Root, 1, 3, void allocation(int))
AT(J2, J1, 3, 5, void* make_cache())
AT(J3, J2, 5, 6, bool set_cache(Public*))
AT(J4, J3, 6, 8, void strategy(int))
struct Jit : J4 {
    JitCache* cache = nullptr;
    int allocated = 0, eager = 0;
    void allocation(int which) override { allocated = which; }
    void* make_cache() override { return new Public('K', new JitCache); }
    bool set_cache(Public* given) override {
        cache = static_cast<JitCache*>(given->implementation);
        return true;
    }
    void strategy(int which) override { eager = which; }
};
#else
typedef C6 C7;
#endif
struct Context : C7 {
    Text text;
#if RTX
    JitCache* cache = nullptr;
    bool capturable(void*) override { return !find("uncapturable"); }
#endif
    int chosen = 0;
    uint8_t* room = nullptr;
    int64_t room_bytes = 0;
    explicit Context(const Text& text) : text(text) {}
    Tensor* find(const char* name) {
        for (auto& tensor : text.tensors)
            if (tensor.name == name) return &tensor;
        return nullptr;
    }
    bool profile(int place, void*) override { return size_t(chosen = place) < text.profiles[0].size(); }
    bool shape(const char* name, const Dims* dims) override {
        auto* input = find(name);
        for (int i = 0; i < dims->count; i++)
            if (dims->dims[i] < text.profiles[0][chosen][i] || dims->dims[i] > text.profiles[2][chosen][i]) {
                logger->log(1, "beyond the profile");
                return false;
            }
        input->dims.assign(dims->dims, dims->dims + dims->count);
        for (auto& tensor : text.tensors)
            if (tensor.dims[0] < 0) tensor.dims[0] = dims->dims[0];
        return true;
    }
    Dims dims(const char* name) override {
        auto* tensor = find(name);
        return tensor ? dims_of(tensor->dims) : Dims{-1, {}};
    }
    bool address(const char* name, void* address) override {
        find(name)->address = uint64_t(address);
        return true;
    }
    void scratch(void* memory, int64_t bytes) override {
        room = static_cast<uint8_t*>(memory);
        room_bytes = bytes;
    }
    bool enqueue(void*) override {
        if (room_bytes < scratch_of(text, chosen)) {
            logger->log(1, "no room between the layers");
            return false;
        }
#if RTX
        cache->text += "run;";
#endif
        memset(room, 0x5a, size_t(scratch_of(text, chosen)));
        for (auto& tensor : text.tensors) {
            size_t values = 1;
            for (auto dim : tensor.dims) values *= size_t(dim);
            if (!tensor.address) {
                logger->log(1, "a tensor has no address");
                return false;
            }
            for (size_t i = 0; i < values && !tensor.input; i++) reinterpret_cast<uint16_t*>(tensor.address)[i] = 0x3c00;
        }
        return true;
    }
};

AT(E1, Root, 1, 5, void* context(int))
AT(E2, E1, 5, EITHER(10, 8), int profile_count())
AT(E3, E2, EITHER(10, 8), EITHER(19, 15), Dims shape(const char*))
AT(E4, E3, EITHER(19, 15), EITHER(20, 16), int element(const char*))
AT(E5, E4, EITHER(20, 16), EITHER(23, 19), int mode(const char*))
AT(E6, E5, EITHER(23, 19), EITHER(29, 25), Dims limit(const char*, int, int))
AT(E7, E6, EITHER(29, 25), EITHER(30, 26), int count())
AT(E8, E7, EITHER(30, 26), EITHER(31, 27), const char* name(int))
AT(E9, E8, EITHER(31, 27), EITHER(53, 45), int64_t scratch(int))
#if RTX
AT(E10, E9, 45, 47, void* context_with(Public*))
AT(E11, E10, 47, 48, void* jit())
#else
typedef E9 E11;
#endif
struct Engine : E11 {
    Text text;
    explicit Engine(const Text& text) : text(text) {}
    const Tensor& find(const char* name) {
        for (auto& tensor : text.tensors)
            if (tensor.name == name) return tensor;
        abort();
    }
#if RTX
    void* jit() override { return new Public('J', new Jit); }
    void* context_with(Public* config) override {
        auto* jit = static_cast<Jit*>(config->implementation);
        if (jit->allocated != 2 || jit->eager != 1 || !jit->cache) return nullptr;
        auto* context = new Context(text);
        context->cache = jit->cache;
        return new Public('C', context);
    }
    void* context(int) override { abort(); }
#else
    void* context(int strategy) override { return strategy == 2 ? new Public('C', new Context(text)) : nullptr; }
#endif
    int64_t scratch(int profile) override { return scratch_of(text, profile); }
    int profile_count() override { return int(text.profiles[0].size()); }
    Dims shape(const char* name) override { return dims_of(find(name).dims); }
    int element(const char* name) override { return find(name).element; }
    int mode(const char* name) override { return find(name).input ? 1 : 2; }
    Dims limit(const char*, int place, int which) override { return dims_of(text.profiles[which][place]); }
    int count() override { return int(text.tensors.size()); }
    const char* name(int place) override { return text.tensors[place].name.c_str(); }
};

AT(R1, Root, 1, 3, void* deserialize(const char*, size_t))
struct Runtime : R1 {
    void* deserialize(const char* bytes, size_t size) override {
        return new Public('E', new Engine(Text(std::string(bytes, size))));
    }
};

AT(M1, Root, 1, 2, const void* data())
AT(M2, M1, 2, 3, size_t size())
struct Memory : M2 {
    std::string bytes;
    explicit Memory(const std::string& bytes) : bytes(bytes) {}
    const void* data() override { return bytes.data(); }
    size_t size() override { return bytes.size(); }
};

#if RTX
void* JitCache::serialize() { return new Public('M', new Memory(text)); }
#endif

AT(P1, Root, 1, 2, bool set(const char*, int, const Dims*))
struct Profile : P1 {
    std::string text;
    bool set(const char*, int which, const Dims* dims) override {
        text += "profile " + std::to_string(which);
        for (int i = 0; i < dims->count; i++) text += " " + std::to_string(dims->dims[i]);
        text += "\n";
        return true;
    }
};

AT(T1, Root, 1, 2, void* serialize())
struct Cache : T1 {
    void* serialize() override { return new Public('M', new Memory("timings")); }
};

AT(G1, Root, 1, EITHER(10, 8), void clear(int))
AT(G1b, G1, EITHER(10, 8), EITHER(11, 9), void set(int))
AT(G2, G1b, EITHER(11, 9), EITHER(25, 23), int add(Public*))
AT(G3, G2, EITHER(25, 23), EITHER(40, 29), void* make_cache(const void*, size_t))
AT(G4, G3, EITHER(40, 29), EITHER(41, 30), bool set_cache(void*, bool))
AT(G5, G4, EITHER(41, 30), EITHER(56, 45), void monitor(Monitor*))
#if RTX
AT(G6, G5, 45, 55, bool capabilities(int))
AT(G7, G6, 55, 57, bool capability(int, int))
#else
typedef G5 G7;
#endif
struct Config : G7 {
#if RTX
    bool capabilities(int count) override { return count == 1; }
    bool capability(int, int) override { return true; }
#endif
    int flag = 0;
    void set(int flag) override { this->flag = flag; }
    std::string profiles;
    int count = 0;
    Monitor* told = nullptr;
    void clear(int) override {}
    int add(Public* profile) override {
        profiles += static_cast<Profile*>(profile->implementation)->text;
        return count++;
    }
    void* make_cache(const void*, size_t) override { return new Public('T', new Cache); }
    bool set_cache(void*, bool) override { return true; }
    void monitor(Monitor* monitor) override { told = monitor; }
};

struct Network : Root {
    std::string tensors;
};

AT(B1, Root, 1, EITHER(7, 5), void* config())
AT(B2, B1, EITHER(7, 5), EITHER(8, 6), void* network(uint32_t))
AT(B3, B2, EITHER(8, 6), EITHER(9, 7), void* profile())
AT(B4, B3, EITHER(9, 7), EITHER(14, 11), void* build(Public*, Public*))
struct Builder : B4 {
    std::vector<Public*> profiles;
    ~Builder() override {
        for (auto* profile : profiles) delete profile;
    }
    void* config() override { return new Public('G', new Config); }
    void* network(uint32_t flags) override { return flags == (TEN ? 2 : 0) ? new Public('N', new Network) : nullptr; }
    void* profile() override {
        profiles.push_back(new Public('p', new Profile));
        return profiles.back();
    }
    void* build(Public* network, Public* config) override {
        auto* settings = static_cast<Config*>(config->implementation);
        if (settings->flag != (RTX ? 28 : 0)) {
            logger->log(1, "another flag than was expected");
            return nullptr;
        }
        settings->told->start("Pretending", nullptr, 2);
        settings->told->step("Pretending", 0);
        settings->told->finish("Pretending");
        std::string versions = settings->told->interface().kind;
        if (versions != "IProgressMonitor" || settings->told->language() != 0) return nullptr;
        return new Public('M', new Memory(static_cast<Network*>(network->implementation)->tensors + settings->profiles));
    }
};

struct ParserError {
    virtual int code() const { abort(); }
    virtual const char* words() const { return "an operator that nobody knows"; }
    virtual const char* file() const { abort(); }
    virtual int line() const { abort(); }
    virtual const char* function() const { abort(); }
    virtual int node() const { abort(); }
    virtual const char* name() const { return "block1"; }
    virtual ~ParserError() {}
};

struct Parser {
    Public* network;
    ParserError problem;
    explicit Parser(Public* network) : network(network) {}
    virtual bool parse(const void*, size_t, const char*) { abort(); }
    virtual bool parse_file(const char* file, int) {
        const std::string& found = tensors[strstr(file, "windows.onnx") ? 1 : 0];
        static_cast<Network*>(network->implementation)->tensors = found;
        return !found.empty();
    }
#if TEN
    virtual void supports() { abort(); }
    virtual void parse_with_weights() { abort(); }
#endif
    virtual bool supports_operator(const char*) { abort(); }
    virtual int count() const { return 1; }
    virtual const ParserError* error(int) { return &problem; }
    virtual void clear() { abort(); }
    virtual ~Parser() { freed += 'P'; }
};

} // namespace

extern "C" {
int getInferLibVersion() { return RTX ? 10701 : TEN ? 100300 : 110401; }
void* createInferBuilder_INTERNAL(void* to, int) {
    logger = static_cast<Logger*>(to);
    return new Public('B', new Builder);
}
void* createInferRuntime_INTERNAL(void* to, int) {
    logger = static_cast<Logger*>(to);
    return new Public('R', new Runtime);
}
void* createNvOnnxParser_INTERNAL(void* network, void*, int) { return new Parser(static_cast<Public*>(network)); }
void describe(const char* trunk, const char* windows) {
    tensors[0] = trunk;
    tensors[1] = windows;
}
const char* take_freed() {
    static std::string given;
    given = freed;
    freed.clear();
    return given.c_str();
}
}
