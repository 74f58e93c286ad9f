#include "kernels/fold.hpp"
#include "kernels/fold_rule.hpp"

namespace ballast {

void fold_host(std::span<std::int64_t> pass, std::span<std::int64_t> window, int decay_shift) {
  for (std::size_t i = 0; i < window.size(); ++i) {
    window[i] = folded(window[i], pass[i], decay_shift);
    pass[i] = 0;
  }
}

}  // namespace ballast
