#include "topology/thread_binding.hpp"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

namespace ballast {
namespace {

struct cpu_set_deleter {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};

// A set of CPUs as the kernel wants it, for `size` of them.
class cpu_set {
 public:
  explicit cpu_set(int size) : bytes_(CPU_ALLOC_SIZE(size)), set_(CPU_ALLOC(size)) {
    if (set_) CPU_ZERO_S(bytes_, set_.get());
  }
  explicit operator bool() const { return set_ != nullptr; }
  cpu_set_t* get() const { return set_.get(); }
  std::size_t bytes() const { return bytes_; }
  int size() const { return static_cast<int>(bytes_ * 8); }
  bool has(int cpu) const {
    return cpu >= 0 && cpu < size() && CPU_ISSET_S(cpu, bytes_, set_.get());
  }
  void add(int cpu) { CPU_SET_S(cpu, bytes_, set_.get()); }

 private:
  std::size_t bytes_;
  std::unique_ptr<cpu_set_t, cpu_set_deleter> set_;
};

// "0-3,8"; `cpus` ascending.
std::string ranges(const std::vector<int>& cpus) {
  std::string text;
  for (std::size_t first = 0; first < cpus.size();) {
    std::size_t last = first;
    while (last + 1 < cpus.size() && cpus[last + 1] == cpus[last] + 1) ++last;
    if (!text.empty()) text += ',';
    text += first == last ? fmt::format("{}", cpus[first])
                          : fmt::format("{}-{}", cpus[first], cpus[last]);
    first = last + 1;
  }
  return text;
}

std::string not_bound(int error) { return fmt::format("not bound: {}", std::strerror(error)); }

}  // namespace

std::string bind_this_thread(std::span<const std::int32_t> cpus, int avoid_cpu) {
  // The kernel refuses a set smaller than its own and does not tell its size.
  for (int size = 1024; size <= 1 << 20; size *= 4) {
    cpu_set allowed(size);
    cpu_set chosen(size);
    if (!allowed || !chosen) return not_bound(ENOMEM);
    if (sched_getaffinity(0, allowed.bytes(), allowed.get()) != 0) {
      if (errno == EINVAL) continue;
      return not_bound(errno);
    }
    std::vector<int> usable;
    for (const std::int32_t cpu : cpus) {
      if (allowed.has(cpu)) usable.push_back(cpu);
    }
    std::sort(usable.begin(), usable.end());
    usable.erase(std::unique(usable.begin(), usable.end()), usable.end());
    if (usable.empty()) return "not bound: this thread may use none of the CPUs near its device";
    if (usable.size() > 1) std::erase(usable, avoid_cpu);
    for (const int cpu : usable) chosen.add(cpu);
    if (sched_setaffinity(0, chosen.bytes(), chosen.get()) != 0) return not_bound(errno);
    return fmt::format("cpus {}", ranges(usable));
  }
  return "not bound: the system has too many CPUs";
}

int current_cpu() { return sched_getcpu(); }

}  // namespace ballast
