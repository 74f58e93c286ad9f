#pragma once
// A set of layers that is filled and emptied again and again.

#include <cstdint>
#include <span>
#include <vector>

namespace ballast {

class layer_set {
 public:
  explicit layer_set(int layers) : is_in_(layers, 0) { list_.reserve(layers); }

  /// Allocates nothing.
  void add(int layer) {
    if (is_in_[layer] == 0) list_.push_back(layer);
    is_in_[layer] = 1;
  }
  void clear() {
    for (const std::int32_t layer : list_) is_in_[layer] = 0;
    list_.clear();
  }
  /// In the order in which they came.
  std::span<const std::int32_t> layers() const { return list_; }

 private:
  std::vector<std::int32_t> list_;
  std::vector<char> is_in_;  // [layers]
};

}  // namespace ballast
