#pragma once
// Layers are independent of each other, so threads share them out; which thread takes a layer
// changes nothing.

#include <algorithm>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace ballast {

/// Calls work(first, last) for consecutive parts of [0, layers), one part per thread, the first on
/// this one. Rethrows the exception of the lowest part that threw, after all have ended.
template <class Work>
void for_layers(int layers, int threads, Work&& work) {
  const int parts = std::clamp(threads, 1, std::max(layers, 1));
  const auto bound = [&](int part) {
    return static_cast<int>(static_cast<long long>(layers) * part / parts);
  };
  std::vector<std::exception_ptr> thrown(static_cast<std::size_t>(parts));
  const auto run = [&](int part) {
    try {
      work(bound(part), bound(part + 1));
    } catch (...) {
      thrown[part] = std::current_exception();
    }
  };
  {
    std::vector<std::jthread>
        helpers;  // joined at the end of this block, also if one cannot be started
    for (int part = 1; part < parts; ++part) helpers.emplace_back(run, part);
    run(0);
  }
  for (const std::exception_ptr& exception : thrown) {
    if (exception) std::rethrow_exception(exception);
  }
}

}  // namespace ballast
