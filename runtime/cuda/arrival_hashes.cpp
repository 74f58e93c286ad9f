#include "runtime/cuda/arrival_hashes.hpp"

#include "kernels/hash.hpp"

namespace ballast {

arrival_hashes::arrival_hashes(const device_memory& memory, std::size_t slots, int ctas)
    : memory_(memory),
      ctas_(ctas),
      hashes_(slots),
      scratch_(hash_scratch_size(memory.tensor_count_max(), picked_experts::most)) {
  picked_.addresses = memory.addresses();
}

void arrival_hashes::add(int layer, weight_location where, std::size_t slot) {
  const bool fits = count_ > 0 && count_ < picked_experts::most && slot == first_slot_ + count_ &&
                    memory_.shape(layer) == memory_.shape(layer_);
  if (!fits) {
    launch_added();
    layer_ = layer;
    first_slot_ = slot;
  }
  picked_.first[count_++] = memory_.first_address(layer, where);
}

void arrival_hashes::launch(event& done) {
  launch_added();
  done.record(stream_.get());
}

void arrival_hashes::launch_added() {
  if (count_ == 0) return;
  check_cuda(static_cast<cudaError_t>(hash_picked_device(memory_.shape(layer_), picked_, count_,
                                                         hashes_.data() + first_slot_,
                                                         scratch_.data(), ctas_, stream_.get())),
             "hash_picked_device");
  count_ = 0;
}

}  // namespace ballast
