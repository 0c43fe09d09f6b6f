// The kernels that were compiled for the host, each found by its name and the value of REAL_IS_HALF. Argument types come
// from the function's own signature.
#pragma once
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace host {

// One call of a kernel with its arguments copied, as a launch copies them.
struct Bound {
    std::function<void()> body;
    std::vector<const void*> pointers; // which of the arguments are addresses of device memory
};

struct Kernel {
    std::string name;
    bool half;
    std::function<Bound(void**)> bind;
};

std::vector<Kernel>& kernels();

// Runs `body` once for each thread of each block. `name` stands in the words of a failure.
void launch(const std::string& name, const unsigned (&grid)[3], const unsigned (&block)[3],
            const std::function<void()>& body);

// The stand-in finds a kernel by a global of this type beside it.
struct Registered {
    template <class... A> Registered(const char* name, bool half, void (*function)(A...)) {
        kernels().push_back({name, half, [function](void** arguments) {
            return bind(function, arguments, std::index_sequence_for<A...>());
        }});
    }

  private:
    template <class... A, size_t... I>
    static Bound bind(void (*function)(A...), [[maybe_unused]] void** arguments, std::index_sequence<I...>) {
        std::tuple<std::remove_cv_t<A>...> values{*static_cast<std::remove_cv_t<A>*>(arguments[I])...};
        Bound bound{[function, values] { std::apply(function, values); }, {}};
        (note(bound, std::get<I>(values)), ...);
        return bound;
    }
    template <class T> static void note(Bound& bound, T value) {
        if constexpr (std::is_pointer_v<T>) bound.pointers.push_back(value);
    }
};

} // namespace host
